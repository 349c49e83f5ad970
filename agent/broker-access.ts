/** How a broker is reached and who we are to it: what the agent's link and a publisher have in common. */
import type { IClientOptions, MqttClient } from 'mqtt';

export interface BrokerAccess {
  readonly url: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** PEM bytes. */
  readonly ca?: Uint8Array | undefined;
  readonly cert?: Uint8Array | undefined;
  readonly key?: Uint8Array | undefined;
}

export function isBrokerUrl(text: string): boolean {
  return URL.canParse(text) && /^(mqtts?|tcp|ssl|wss?):$/.test(new URL(text).protocol);
}

/** The library wants absent options left out, and Node's Buffer for PEM. */
export function accessOptions({ username, password, ca, cert, key }: BrokerAccess): IClientOptions {
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(ca === undefined ? {} : { ca: Buffer.from(ca) }),
    ...(cert === undefined ? {} : { cert: Buffer.from(cert) }),
    ...(key === undefined ? {} : { key: Buffer.from(key) }),
  };
}

/**
 * For requests and answers in small packets: Nagle's algorithm would keep each back until the peer's delayed acknowledgement, some
 * 40 ms. To be called at each connect; on a websocket it changes nothing.
 */
export function sendAtOnce({ stream }: MqttClient): void {
  if ('setNoDelay' in stream && typeof stream.setNoDelay === 'function') stream.setNoDelay(true);
}
