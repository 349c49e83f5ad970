/**
 * One GET of part of a file: follows redirects under the URL policy, and judges status and headers so that what comes
 * out is either a body whose place in the file is certain, or a typed failure. Nothing here retries.
 */
import type { IncomingMessage } from 'node:http';
import { type Failure, permanent, retryable } from './failure.js';
import { httpGet } from './http-get.js';
import { MAX_REDIRECTS } from './limits.js';
import { checkUrl, type UrlPolicy } from './url-policy.js';

export interface RequestOptions {
  readonly url: string;
  readonly offset: number;
  /** Exclusive end to ask for; null asks for all that follows. */
  readonly end: number | null;
  /** Size of the whole file, as the document says. */
  readonly size: number;
  /** ETag of the file as first seen. */
  readonly etag: string | null;
  readonly policy: UrlPolicy;
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
}

export interface OpenBody {
  readonly kind: 'body';
  readonly bytes: IncomingMessage;
  /** File offset of the body's first byte: below the offset asked for where a server ignores Range. */
  readonly start: number;
  /** File offset at which the body must end. */
  readonly end: number;
  readonly etag: string | null;
}

export type OpenResult = OpenBody | { readonly kind: 'failed'; readonly failure: Failure };

const REDIRECTS = [301, 302, 303, 307, 308];

/** @throws what httpGet throws */
export async function openBody(options: RequestOptions): Promise<OpenResult> {
  let previous: URL | undefined;
  let target = options.url;
  for (let hops = 0; ; hops++) {
    const verdict = checkUrl(target, options.policy, previous);
    if (verdict.kind === 'refused') return { kind: 'failed', failure: verdict.failure };
    const response = await httpGet(verdict.url, requestHeaders(options), options.signal);
    const location = REDIRECTS.includes(response.statusCode ?? 0) ? response.headers.location : undefined;
    if (location === undefined) return judge(response, options);
    response.destroy();
    if (hops === MAX_REDIRECTS) {
      return {
        kind: 'failed',
        failure: permanent('redirects', `more than ${MAX_REDIRECTS} redirects from ${options.url}`),
      };
    }
    previous = verdict.url;
    target = location;
  }
}

function requestHeaders({ offset, end, etag }: RequestOptions): Record<string, string> {
  // A compressed answer would count other bytes than the file's.
  const headers: Record<string, string> = { 'accept-encoding': 'identity' };
  if (offset === 0 && end === null) return headers;
  headers['range'] = `bytes=${offset}-${end === null ? '' : end - 1}`;
  if (etag !== null) headers['if-range'] = etag;
  return headers;
}

function judge(response: IncomingMessage, options: RequestOptions): OpenResult {
  const result = examine(response, options);
  if (result.kind === 'failed') response.destroy();
  return result;
}

function examine(response: IncomingMessage, options: RequestOptions): OpenResult {
  const fail = (failure: Failure): OpenResult => ({ kind: 'failed', failure });
  const statusFailure = judgeStatus(response, options.nowMs());
  if (statusFailure !== null) return fail(statusFailure);
  const encoding = response.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') return fail(retryable('encoded', `expected the file's own bytes, got ${encoding}`));
  const etag = strongEtag(response);
  if (options.etag !== null && etag !== null && etag !== options.etag) {
    // Begun again at once: the journal keeps what was applied if the patch is the same one after all.
    return fail(retryable('changed', `the file changed on the server: ETag ${options.etag} became ${etag}`, 0));
  }
  const place = response.statusCode === 206 ? placeOfPart(response, options) : placeOfWhole(response, options);
  if (place.kind === 'failed') return fail(place.failure);
  return { kind: 'body', bytes: response, start: place.start, end: place.end, etag };
}

type Place = { kind: 'place'; start: number; end: number } | { kind: 'failed'; failure: Failure };

/** A server may answer 200 to a Range (RFC 9110, 14.2); the caller then skips to its offset. */
function placeOfWhole(response: IncomingMessage, { size }: RequestOptions): Place {
  const length = response.headers['content-length'];
  if (length !== undefined && Number(length) !== size) return wrongSize(size, length);
  return { kind: 'place', start: 0, end: size };
}

function placeOfPart(response: IncomingMessage, { offset, end, size }: RequestOptions): Place {
  const text = response.headers['content-range'] ?? '';
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(text.trim());
  const first = Number(match?.[1]);
  const last = Number(match?.[2]);
  if (match === null || first !== offset || last < first || last >= (end ?? size)) {
    const asked = `bytes ${offset}-${(end ?? size) - 1}/${size}`;
    return {
      kind: 'failed',
      failure: retryable('wrong-range', `expected Content-Range ${asked}, got ${text || 'none'}`),
    };
  }
  const total = match[3] ?? '*';
  return total !== '*' && Number(total) !== size
    ? wrongSize(size, total)
    : { kind: 'place', start: first, end: last + 1 };
}

/** Retryable: it is the server that is wrong, perhaps a proxy's own page, and not the document for certain. */
function wrongSize(size: number, got: string): Place {
  return { kind: 'failed', failure: retryable('wrong-size', `expected a file of ${size} bytes, got ${got}`) };
}

function judgeStatus(response: IncomingMessage, nowMs: number): Failure | null {
  const { statusCode: status = 0, statusMessage = '' } = response;
  if (status === 200 || status === 206) return null;
  const message = `the server answered ${status} ${statusMessage}`.trimEnd();
  if (status === 416) return retryable('range-refused', message);
  if (status === 429 || status === 408 || status === 425 || status >= 500) {
    return retryable(`http-${status}`, message, retryAfterMs(response.headers['retry-after'], nowMs));
  }
  // Files appear, and rights are granted, without the document changing.
  if (status === 404 || status === 401 || status === 403) return retryable(`http-${status}`, message);
  return permanent(`http-${status}`, message);
}

/** Retry-After is seconds or a date (RFC 9110, 10.2.3); anything else counts as absent. */
export function retryAfterMs(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text.trim())) return Number(text) * 1000;
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}

/** Weak validators do not promise equal bytes and If-Range must not carry them (RFC 9110, 13.1.5). */
function strongEtag(response: IncomingMessage): string | null {
  const { etag } = response.headers;
  return etag?.startsWith('"') ? etag : null;
}
