/**
 * A static HTTP server with Range, If-Range and ETag that counts what it really sends and misbehaves on demand, in the
 * ways that servers, proxies and links in the field do.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';

export type Fault =
  /** Destroys the connection after this many body bytes. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** Sends this many body bytes, then nothing, and keeps the connection. A body that is shorter ends as it should. */
  | { readonly kind: 'stall'; readonly afterBytes: number }
  /** 200 and the whole file, whatever was asked for. */
  | { readonly kind: 'ignore-range' }
  /** 206 whose Content-Range, and bytes, lie `shift` bytes elsewhere. */
  | { readonly kind: 'wrong-range'; readonly shift: number }
  | { readonly kind: 'status'; readonly status: number; readonly retryAfter?: string }
  | { readonly kind: 'redirect'; readonly location: string }
  /** Serves other bytes under this ETag. */
  | { readonly kind: 'replace'; readonly bytes: Uint8Array; readonly etag: string }
  /** 200 without Content-Length, followed by this many bytes too many. */
  | { readonly kind: 'too-long'; readonly extraBytes: number }
  | { readonly kind: 'encoded' }
  /** Compresses the body, and says so. */
  | { readonly kind: 'gzip' }
  /** A Content-Length that is `shift` bytes from the truth; where more is promised than comes, the connection ends. */
  | { readonly kind: 'length'; readonly shift: number }
  /** No Content-Length: chunks. */
  | { readonly kind: 'chunked' }
  /** Sends the head of its answer a byte at a time and never ends it. */
  | { readonly kind: 'slow-head'; readonly byteDelayMs: number }
  /** Waits this long before each block of 16 KiB. */
  | { readonly kind: 'slow'; readonly blockDelayMs: number }
  /** A byte of the body, and after this long the next. */
  | { readonly kind: 'drip'; readonly byteDelayMs: number };

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly range: string | null;
  readonly ifRange: string | null;
}

export type FaultPlan = (request: SeenRequest, index: number) => Fault | null;

const BLOCK_BYTES = 16 * 1024;

export class PatchServer {
  readonly url: string;
  readonly requests: SeenRequest[] = [];
  /** Body bytes that were handed to the network, over all requests. */
  bodyBytes = 0;
  fault: FaultPlan = () => null;
  private readonly server: Server;
  private readonly load: (name: string) => Promise<Uint8Array | null>;

  private constructor(server: Server, scheme: string, load: (name: string) => Promise<Uint8Array | null>) {
    this.server = server;
    this.load = load;
    this.url = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** Serves a folder's files, or bytes by name; over HTTPS where a certificate is given, in PEM. */
  static async start(
    content: string | ReadonlyMap<string, Uint8Array>,
    tls?: { readonly cert: string; readonly key: string },
  ): Promise<PatchServer> {
    const load = typeof content === 'string' ? fromFolder(content) : async (name: string) => content.get(name) ?? null;
    const server = tls === undefined ? createServer() : createTlsServer({ ...tls });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const patchServer = new PatchServer(server, tls === undefined ? 'http' : 'https', load);
    server.on('request', (request, response) => void patchServer.answer(request, response));
    return patchServer;
  }

  get gets(): number {
    return this.requests.filter((request) => request.method === 'GET').length;
  }

  urlOf(name: string): string {
    return `${this.url}/${name}`;
  }

  resetCounters(): void {
    this.requests.length = 0;
    this.bodyBytes = 0;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: request.url ?? '',
      range: request.headers.range ?? null,
      ifRange: (request.headers['if-range'] as string | undefined) ?? null,
    };
    const fault = this.fault(seen, this.requests.length);
    this.requests.push(seen);
    const [path = ''] = seen.path.split('?');
    const bytes = await this.load(basename(decodeURIComponent(path)));
    if (bytes === null || !['GET', 'HEAD'].includes(seen.method)) {
      response.writeHead(bytes === null ? 404 : 405).end();
    } else {
      await this.serve(seen, response, bytes, fault);
    }
  }

  private async serve(
    seen: SeenRequest,
    response: ServerResponse,
    file: Uint8Array,
    fault: Fault | null,
  ): Promise<void> {
    if (fault?.kind === 'status') {
      const headers = fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter };
      response.writeHead(fault.status, headers).end('a page of words');
      return;
    }
    if (fault?.kind === 'redirect') {
      response.writeHead(302, { location: fault.location }).end();
      return;
    }
    if (fault?.kind === 'slow-head') return dripHead(response, fault.byteDelayMs);
    const bytes = fault?.kind === 'replace' ? fault.bytes : file;
    const etag = fault?.kind === 'replace' ? fault.etag : etagOf(file);
    const fresh = seen.ifRange === null || seen.ifRange === etag;
    const range = fresh && fault?.kind !== 'ignore-range' ? parseRange(seen.range, bytes.length) : null;
    if (range === 'unsatisfiable') {
      response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
      return;
    }
    const shift = fault?.kind === 'wrong-range' ? fault.shift : 0;
    const start = (range?.start ?? 0) + shift;
    const end = range === null ? bytes.length : Math.min(range.end + shift, bytes.length);
    const headers: Record<string, string | number> = { etag, 'accept-ranges': 'bytes' };
    if (range !== null) headers['content-range'] = `bytes ${start}-${end - 1}/${bytes.length}`;
    if (fault?.kind === 'encoded') headers['content-encoding'] = 'br';
    const body = fault?.kind === 'gzip' ? gzipSync(bytes.subarray(start, end)) : bytes.subarray(start, end);
    if (fault?.kind === 'gzip') headers['content-encoding'] = 'gzip';
    if (fault?.kind !== 'too-long' && fault?.kind !== 'chunked') {
      headers['content-length'] = body.length + (fault?.kind === 'length' ? fault.shift : 0);
    }
    response.writeHead(range === null ? 200 : 206, headers);
    if (seen.method === 'HEAD') response.end();
    else await this.send(response, body, fault);
  }

  private async send(response: ServerResponse, body: Uint8Array, fault: Fault | null): Promise<void> {
    const limit =
      fault?.kind === 'cut' || fault?.kind === 'stall' ? Math.min(fault.afterBytes, body.length) : body.length;
    const blockBytes = fault?.kind === 'drip' ? 1 : BLOCK_BYTES;
    for (let at = 0; at < limit && !response.destroyed; at += blockBytes) {
      if (fault?.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.blockDelayMs));
      if (fault?.kind === 'drip') await new Promise((resolve) => setTimeout(resolve, fault.byteDelayMs));
      await this.write(response, body.subarray(at, Math.min(at + blockBytes, limit)));
    }
    if (fault?.kind === 'too-long') await this.write(response, new Uint8Array(fault.extraBytes));
    if (fault?.kind === 'cut' || fault?.kind === 'length') response.destroy();
    else if (fault?.kind !== 'stall' || limit === body.length) response.end();
  }

  /** Counted once the socket has taken them: a client that hangs up is not charged for what it never got. */
  private async write(response: ServerResponse, block: Uint8Array): Promise<void> {
    await new Promise<void>((resolve) => {
      const gone = () => resolve();
      response.once('close', gone);
      response.write(block, (error) => {
        response.off('close', gone);
        if (!error) this.bodyBytes += block.length;
        resolve();
      });
    });
  }
}

async function dripHead(response: ServerResponse, byteDelayMs: number): Promise<void> {
  const { socket } = response;
  socket?.write('HTTP/1.1 200 OK\r\nX-Slow: ');
  while (socket !== null && !socket.destroyed) {
    socket.write('s');
    await new Promise((resolve) => setTimeout(resolve, byteDelayMs));
  }
}

function fromFolder(folder: string): (name: string) => Promise<Uint8Array | null> {
  return async (name) => {
    try {
      return new Uint8Array(await readFile(join(folder, name)));
    } catch (error) {
      if (['ENOENT', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
      throw error;
    }
  };
}

function etagOf(bytes: Uint8Array): string {
  return `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"`;
}

function parseRange(text: string | null, size: number): { start: number; end: number } | 'unsatisfiable' | null {
  const match = /^bytes=(\d+)-(\d*)$/.exec(text ?? '');
  if (match === null) return null;
  const start = Number(match[1]);
  const end = match[2] === '' ? size : Math.min(Number(match[2]) + 1, size);
  return start >= size ? 'unsatisfiable' : { start, end };
}
