/**
 * Works with a device over a line that may go away: an adapter is unplugged, a serial server restarts. Says so, waits ever longer, and
 * works on when the port is back; the device knows from where.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { type ByteLink, LinkLost } from './byte-link.js';
import { type ClientOptions, SmpClient } from './smp-client.js';

export interface PersistentOptions {
  readonly open: () => Promise<ByteLink>;
  readonly clientOptions?: ClientOptions & { readonly signal?: AbortSignal };
  /** How long the port may be away at a time. */
  readonly patienceMs: number;
  /** Hears of each loss of the port, and of each vain attempt to open it. */
  readonly onLost?: (reason: Error, nextTryMs: number) => void;
}

const FIRST_WAIT_MS = 250;
const MOST_WAIT_MS = 10_000;

/**
 * Does `work` with a client, and again from its beginning with another one when the line was lost.
 * @throws what `work` throws; LinkLost when the port stays away; at once what keeps it from being opened the first time
 */
export async function persistently<T>(options: PersistentOptions, work: (client: SmpClient) => Promise<T>): Promise<T> {
  const { open, clientOptions = {}, patienceMs, onLost = () => {} } = options;
  let link = await open();
  for (;;) {
    const client = new SmpClient(link, clientOptions);
    try {
      return await work(client);
    } catch (error) {
      if (!(error instanceof LinkLost)) throw error;
      link = await reopen(error);
    } finally {
      await client.close();
    }
  }

  async function reopen(lost: Error): Promise<ByteLink> {
    let reason = lost;
    let waitedMs = 0;
    for (let waitMs = FIRST_WAIT_MS; waitedMs < patienceMs; waitMs = Math.min(2 * waitMs, MOST_WAIT_MS)) {
      onLost(reason, waitMs);
      await sleep(waitMs, null, clientOptions.signal === undefined ? {} : { signal: clientOptions.signal });
      waitedMs += waitMs;
      try {
        return await open();
      } catch (error) {
        reason = error instanceof Error ? error : new Error(String(error));
      }
    }
    throw lost;
  }
}
