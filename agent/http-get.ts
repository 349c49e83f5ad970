/**
 * One GET over node:http and node:https. Not fetch: that loads a second HTTP client, 11 MB of memory for as long as the agent lives
 * after its first download.
 */
import type { IncomingMessage } from 'node:http';
import * as http from 'node:http';
import * as https from 'node:https';

/**
 * The answer, when its head has come; its body waits to be read or destroyed. Redirects are not followed, nothing is decoded, and
 * the head is bounded by Node's own 16 KiB. @throws network errors and, once `signal` is aborted, an AbortError
 */
export function httpGet(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> {
  const { get } = url.protocol === 'https:' ? https : http;
  return new Promise((resolve, reject) => {
    const attempt = (): void => {
      const request = get(url, { headers, signal }, resolve);
      request.on('error', (error: NodeJS.ErrnoException) => {
        // A kept connection that the server had given up: nothing was asked yet. There are only so many of them.
        if (request.reusedSocket && error.code === 'ECONNRESET' && !signal.aborted) attempt();
        else reject(error);
      });
    };
    attempt();
  });
}

/** A failed attempt on each address of a host is an AggregateError without a message. */
export function networkMessage(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code = '' } = error as NodeJS.ErrnoException;
  return error.message || code || error.name;
}
