/** `mallorn streams`: patch bytes over MQTT itself, for devices that have no HTTP. */

import type { Command } from 'commander';
import { type BrokerFlags, brokerOptions, serverOptions, serveUntil } from './broker-server.js';
import type { AddCommand } from './session.js';

interface StreamsFlags extends BrokerFlags {
  readonly clientId?: string;
}

export const addStreams: AddCommand = (program, open) => {
  const streams = program
    .command('streams')
    .description('serve the files of a folder to devices over MQTT until told to end')
    .argument('<folder>', 'what `mallorn publish --base-url mqtt:` laid out');
  brokerOptions(streams)
    .option('--client-id <id>', 'who we are to the broker (default: mallorn-streams)')
    .action(async (folder: string, { clientId, ...flags }: StreamsFlags, self: Command) => {
      const { signal } = open(self);
      const { StreamFolder } = await import('../streams/stream-folder.js');
      const { StreamServer } = await import('../streams/stream-server.js');
      const options = { ...(await serverOptions(flags)), ...(clientId === undefined ? {} : { clientId }) };
      await serveUntil(signal, new StreamServer({ ...options, folder: new StreamFolder(folder) }));
    });
};
