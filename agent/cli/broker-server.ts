/** What commands that serve devices on a broker until they are told to end have in common. */
import type { Command } from 'commander';
import { jsonLog } from '../log.js';
import type { ServerOptions } from '../server-client.js';
import { DEFAULT_TOPIC_PREFIX } from '../topics.js';
import { pem } from './read-file.js';

export interface BrokerFlags {
  readonly mqtt: string;
  readonly topicPrefix: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export function brokerOptions(command: Command): Command {
  return command
    .requiredOption('--mqtt <url>', 'the broker; credentials stand in the URL')
    .option('--topic-prefix <prefix>', 'first part of the topics', DEFAULT_TOPIC_PREFIX)
    .option('--ca <file>', 'PEM of the authority that signed the broker')
    .option('--cert <file>', 'PEM of our own certificate')
    .option('--key <file>', 'PEM of its key');
}

/** @throws IoError for a file that cannot be read. */
export async function serverOptions(flags: BrokerFlags): Promise<ServerOptions> {
  const { mqtt, topicPrefix, ca, cert, key } = flags;
  return {
    url: mqtt,
    topicPrefix,
    ca: await pem(ca),
    cert: await pem(cert),
    key: await pem(key),
    log: jsonLog((line) => process.stderr.write(line)),
  };
}

export async function serveUntil(signal: AbortSignal, server: { close(): Promise<void> }): Promise<void> {
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  await server.close();
}
