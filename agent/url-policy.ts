/**
 * Which addresses this device will ask for a patch. The document that names them comes from a broker and is not
 * trusted, and neither is a server that redirects, so the same check stands before every request.
 */
import { type Failure, permanent } from './failure.js';
import { streamIdOf } from './streams/stream-messages.js';

export interface UrlPolicy {
  /** Host names allowed: `name` or `*.domain`; null allows any. */
  readonly allowedHosts: readonly string[] | null;
  /** Plain http beyond loopback. Frames authenticate themselves, so this is about privacy, not integrity. */
  readonly allowInsecureHttp: boolean;
  /** Patches over the agent's own MQTT connection: `mqtt:STREAM-ID`. */
  readonly allowStreams?: boolean;
}

export type UrlVerdict = { kind: 'allowed'; url: URL } | { kind: 'refused'; failure: Failure };

/** `previous` is the address that redirected here. */
export function checkUrl(text: string, policy: UrlPolicy, previous?: URL): UrlVerdict {
  const url = URL.canParse(text, previous?.href) ? new URL(text, previous) : null;
  if (url === null) return refuse(`expected an absolute URL, got ${JSON.stringify(text.slice(0, 200))}`);
  if (url.protocol === 'mqtt:' && previous === undefined) return checkStream(text, url, policy);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    return refuse(`expected http: or https:, got ${url.protocol} in ${url.href}`);
  }
  if (url.username !== '' || url.password !== '') return refuse(`a URL with credentials is refused (host ${url.host})`);
  if (previous?.protocol === 'https:' && url.protocol === 'http:') {
    return refuse(`redirect from https to plain http refused: ${url.origin}`);
  }
  if (url.protocol === 'http:' && !policy.allowInsecureHttp && !isLoopback(url.hostname)) {
    return refuse(`plain http to ${url.host} needs allowInsecureHttp`);
  }
  if (policy.allowedHosts !== null && !policy.allowedHosts.some((pattern) => matchesHost(pattern, url.hostname))) {
    return refuse(`host ${url.hostname} is not in allowedHosts`);
  }
  return { kind: 'allowed', url };
}

/** No host is asked that is not asked already, so that `allowedHosts` does not matter. */
function checkStream(text: string, url: URL, { allowStreams = false }: UrlPolicy): UrlVerdict {
  if (!allowStreams) return refuse(`a patch over MQTT needs mqtt.streams: ${text}`);
  return streamIdOf(text) === null ? refuse(`expected mqtt:STREAM-ID, got ${text}`) : { kind: 'allowed', url };
}

function refuse(message: string): UrlVerdict {
  return { kind: 'refused', failure: permanent('url-refused', message) };
}

function matchesHost(pattern: string, hostname: string): boolean {
  const wanted = pattern.toLowerCase();
  return wanted.startsWith('*.') ? hostname.endsWith(wanted.slice(1)) : hostname === wanted;
}

/** The URL parser has already turned 127.1 and 0x7f000001 into dotted form. */
function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
