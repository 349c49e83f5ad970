/** `mallorn streams`: patch bytes over MQTT itself, for devices that have no HTTP. */

import type { Command } from 'commander';
import { jsonLog } from '../log.js';
import { DEFAULT_TOPIC_PREFIX } from '../topics.js';
import { pem } from './read-file.js';
import type { AddCommand } from './session.js';

interface StreamsFlags {
  readonly mqtt: string;
  readonly topicPrefix: string;
  readonly clientId?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export const addStreams: AddCommand = (program, open) => {
  program
    .command('streams')
    .description('serve the files of a folder to devices over MQTT until told to end')
    .argument('<folder>', 'what `mallorn publish --base-url mqtt:` laid out')
    .requiredOption('--mqtt <url>', 'the broker; credentials stand in the URL')
    .option('--topic-prefix <prefix>', 'first part of the topics', DEFAULT_TOPIC_PREFIX)
    .option('--client-id <id>', 'who we are to the broker (default: mallorn-streams)')
    .option('--ca <file>', 'PEM of the authority that signed the broker')
    .option('--cert <file>', 'PEM of our own certificate')
    .option('--key <file>', 'PEM of its key')
    .action(async (folder: string, flags: StreamsFlags, self: Command) => {
      const { mqtt, topicPrefix, clientId, ca, cert, key } = flags;
      const { signal } = open(self);
      const { StreamFolder } = await import('../streams/stream-folder.js');
      const { StreamServer } = await import('../streams/stream-server.js');
      const server = new StreamServer({
        folder: new StreamFolder(folder),
        url: mqtt,
        topicPrefix,
        ...(clientId === undefined ? {} : { clientId }),
        ca: await pem(ca),
        cert: await pem(cert),
        key: await pem(key),
        log: jsonLog((line) => process.stderr.write(line)),
      });
      if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      await server.close();
    });
};
