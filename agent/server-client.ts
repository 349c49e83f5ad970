/** What programs that serve devices over a broker have in common: `mallorn jobs serve`, `mallorn streams`. */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { accessOptions, type BrokerAccess } from './broker-access.js';
import type { Log } from './log.js';

export interface ServerOptions extends BrokerAccess {
  readonly topicPrefix: string;
  /** Two servers of a kind on one broker need one each. */
  readonly clientId?: string;
  readonly log: Log;
  /** How often the disk is looked at for what is new. */
  readonly pollMs?: number;
  readonly reconnectMs?: number;
}

export const POLL_MS = 1000;
const RECONNECT_MS = 2000;

/** Begins to connect, and goes on trying. `own`: what this kind of server adds, its default name among it. */
export function connectServer(options: ServerOptions, own: IClientOptions & { readonly clientId: string }): MqttClient {
  const { url, clientId = own.clientId, reconnectMs = RECONNECT_MS, log } = options;
  const client = connect(url, {
    ...own,
    clientId,
    clean: true,
    resubscribe: false,
    reconnectPeriod: reconnectMs,
    reconnectOnConnackError: true,
    ...accessOptions(options),
  });
  client.on('error', (error) => log('warn', 'mqtt', { error: error.message }));
  return client;
}
