import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { type Consumer, type ConsumerAnswer, type DownloadOptions, download } from '../agent/download.js';
import { retryAfterMs } from '../agent/http-request.js';
import { TokenBucket } from '../agent/pace.js';
import { type Fault, PatchServer, type SeenRequest } from './support/patch-server.js';

const FILE = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
const POLICY = { allowedHosts: null, allowInsecureHttp: false };
const LIMITS = { maxResumes: 3, resumeDelayMs: 1, stallTimeoutMs: 200, minBytesPerSecond: 0 };

describe('download', () => {
  let server: PatchServer;
  before(async () => {
    server = await PatchServer.start(new Map([['file', FILE]]));
  });
  after(() => server.stop());
  beforeEach(() => {
    server.resetCounters();
    server.fault = () => null;
  });

  const options = (extra: Partial<DownloadOptions> = {}): DownloadOptions => ({
    url: server.urlOf('file'),
    size: FILE.length,
    policy: POLICY,
    limits: LIMITS,
    firstBytes: null,
    signal: new AbortController().signal,
    ...extra,
  });

  /** First request gets `fault`, the others are honest. */
  const once = (fault: Fault) => (_: SeenRequest, index: number) => (index === 0 ? fault : null);

  /** Collects, and checks that every chunk is what the file holds at its offset. */
  function collector(answer: (offset: number, length: number) => ConsumerAnswer | null = () => null) {
    const seen: Array<[number, number]> = [];
    const consumer: Consumer = async (chunk, offset) => {
      assert.deepEqual(chunk, FILE.slice(offset, offset + chunk.length), `bytes at ${offset}`);
      seen.push([offset, chunk.length]);
      return answer(offset, chunk.length) ?? { kind: 'continue' };
    };
    const covers = (): boolean => {
      let next = 0;
      for (const [offset, length] of seen) {
        if (offset !== next) return false;
        next += length;
      }
      return next === FILE.length;
    };
    return { consumer, seen, covers };
  }

  async function failureReason(fault: Fault, extra: Partial<DownloadOptions> = {}): Promise<string> {
    server.fault = () => fault;
    const result = await download(options(extra), collector().consumer);
    assert.equal(result.kind, 'failed');
    return result.kind === 'failed' ? `${result.failure.kind} ${result.failure.reason}` : '';
  }

  it('delivers every byte once, in order, with one GET', async () => {
    const { consumer, covers } = collector();
    assert.deepEqual(await download(options(), consumer), { kind: 'ended' });
    assert.ok(covers());
    assert.equal(server.gets, 1);
    assert.equal(server.bodyBytes, FILE.length);
  });

  it('lets the consumer move a chunk to another thread', async () => {
    const { consumer, covers } = collector();
    const result = await download(options(), async (chunk, offset) => {
      const moved = structuredClone(chunk, { transfer: [chunk.buffer as ArrayBuffer] });
      assert.equal(chunk.length, 0);
      return consumer(moved, offset);
    });
    assert.equal(result.kind, 'ended');
    assert.ok(covers());
  });

  it('stops when the consumer is done', async () => {
    const { consumer, seen } = collector(() => ({ kind: 'done' }));
    assert.deepEqual(await download(options(), consumer), { kind: 'done' });
    assert.equal(seen.length, 1);
  });

  it('goes on where a connection broke', async () => {
    server.fault = once({ kind: 'cut', afterBytes: 100_000 });
    const { consumer, covers } = collector();
    assert.deepEqual(await download(options(), consumer), { kind: 'ended' });
    assert.ok(covers());
    const range = /^bytes=(\d+)-$/.exec(server.requests[1]?.range ?? '');
    assert.ok(Number(range?.[1]) > 0, 'the second request starts where the first stopped');
    assert.ok(server.requests[1]?.ifRange?.startsWith('"'), 'with If-Range');
  });

  it('comes home over a link that breaks all the time, as long as bytes arrive', async () => {
    server.fault = () => ({ kind: 'cut', afterBytes: 20_000 });
    const { consumer, covers } = collector();
    assert.deepEqual(await download(options({ limits: { ...LIMITS, maxResumes: 1 } }), consumer), { kind: 'ended' });
    assert.ok(covers());
  });

  it('gives up after a bounded number of transfers without a byte', async () => {
    assert.equal(await failureReason({ kind: 'cut', afterBytes: 0 }), 'retryable network');
    assert.equal(server.gets, 1 + LIMITS.maxResumes);
  });

  it('skips to its offset when a server answers 200 to a Range', async () => {
    server.fault = (_, index) => (index === 0 ? { kind: 'cut', afterBytes: 100_000 } : { kind: 'ignore-range' });
    const { consumer, covers } = collector();
    assert.deepEqual(await download(options(), consumer), { kind: 'ended' });
    assert.ok(covers());
  });

  it('takes no byte of a part that lies elsewhere', async () => {
    server.fault = (_, index) =>
      index === 0 ? { kind: 'cut', afterBytes: 50_000 } : { kind: 'wrong-range', shift: 7 };
    const { consumer, seen } = collector();
    const result = await download(options(), consumer);
    assert.equal(result.kind === 'failed' && result.failure.reason, 'wrong-range');
    assert.ok(seen.every(([offset, length]) => offset + length <= 50_000));
  });

  it('reports a file that changed on the server, to be begun again at once', async () => {
    const changed: Fault = { kind: 'replace', bytes: FILE.slice().fill(7), etag: '"other"' };
    server.fault = (_, index) => (index === 0 ? { kind: 'cut', afterBytes: 50_000 } : changed);
    const result = await download(options(), collector().consumer);
    assert.equal(result.kind, 'failed');
    assert.deepEqual(
      result.kind === 'failed' && [result.failure.reason, (result.failure as { retryAfterMs?: number }).retryAfterMs],
      ['changed', 0],
    );
  });

  it('types every refusal of a server', async () => {
    assert.equal(await failureReason({ kind: 'status', status: 503 }), 'retryable http-503');
    assert.equal(await failureReason({ kind: 'status', status: 404 }), 'retryable http-404');
    assert.equal(await failureReason({ kind: 'status', status: 410 }), 'permanent http-410');
    assert.equal(await failureReason({ kind: 'status', status: 416 }), 'retryable range-refused');
    assert.equal(await failureReason({ kind: 'encoded' }), 'retryable encoded');
    assert.equal(await failureReason({ kind: 'too-long', extraBytes: 10 }), 'retryable too-long');
    assert.equal(await failureReason({ kind: 'ignore-range' }, { size: FILE.length - 1 }), 'retryable wrong-size');
    assert.equal(await failureReason({ kind: 'ignore-range' }, { size: FILE.length + 1 }), 'retryable wrong-size');
  });

  it('waits as long as Retry-After says, and leaves long waits to its caller', async () => {
    server.fault = once({ kind: 'status', status: 429, retryAfter: '1' });
    const startMs = performance.now();
    assert.equal((await download(options(), collector().consumer)).kind, 'ended');
    assert.ok(performance.now() - startMs >= 990);
    server.resetCounters();
    server.fault = once({ kind: 'status', status: 503, retryAfter: '3600' });
    const result = await download(options(), collector().consumer);
    assert.deepEqual(result.kind === 'failed' && (result.failure as { retryAfterMs?: number }).retryAfterMs, 3_600_000);
    assert.equal(server.gets, 1);
  });

  it('reads Retry-After as seconds or as a date', () => {
    assert.equal(retryAfterMs('120', 0), 120_000);
    assert.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:05 GMT', 2000), 3000);
    assert.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:05 GMT', 9000), 0);
    assert.equal(retryAfterMs('soon', 0), undefined);
    assert.equal(retryAfterMs(undefined, 0), undefined);
  });

  it('gives up a server that stalls, and resumes', async () => {
    server.fault = once({ kind: 'stall', afterBytes: 30_000 });
    const { consumer, covers } = collector();
    assert.equal((await download(options(), consumer)).kind, 'ended');
    assert.ok(covers());
    assert.equal(await failureReason({ kind: 'stall', afterBytes: 0 }), 'retryable stalled');
  });

  it('gives up a server that drips, after as many tries as one that sends nothing', async () => {
    const limits = { ...LIMITS, stallTimeoutMs: 100, minBytesPerSecond: 1000 };
    assert.equal(await failureReason({ kind: 'drip', byteDelayMs: 10 }, { limits }), 'retryable slow');
    assert.equal(server.gets, 1 + limits.maxResumes);
  });

  it('gives up a server that hangs up after each byte', async () => {
    const limits = { ...LIMITS, minBytesPerSecond: 1_000_000 };
    assert.equal(await failureReason({ kind: 'cut', afterBytes: 1 }, { limits }), 'retryable network');
    assert.equal(server.gets, 1 + limits.maxResumes);
  });

  it('bears with one that is slow at times', async () => {
    server.fault = once({ kind: 'slow', blockDelayMs: 30 });
    const limits = { ...LIMITS, stallTimeoutMs: 100, minBytesPerSecond: 1000 };
    assert.equal((await download(options({ limits }), collector().consumer)).kind, 'ended');
    assert.equal(server.gets, 1);
  });

  it('does not count the consumer’s own time as a stall', async () => {
    const { consumer } = collector();
    let slow = true;
    const result = await download(
      options({ limits: { ...LIMITS, stallTimeoutMs: 40, maxResumes: 0 } }),
      async (chunk, offset) => {
        if (slow) await new Promise((resolve) => setTimeout(resolve, 120));
        slow = false;
        return consumer(chunk, offset);
      },
    );
    assert.equal(result.kind, 'ended');
  });

  it('asks for the head alone first where a jump is likely, and then for what is wanted', async () => {
    const { consumer, seen } = collector((offset) => (offset === 0 ? { kind: 'seek', offset: 290_000 } : null));
    assert.equal((await download(options({ firstBytes: 2048 }), consumer)).kind, 'ended');
    assert.deepEqual(
      server.requests.map((request) => request.range),
      ['bytes=0-2047', 'bytes=290000-'],
    );
    assert.equal(server.bodyBytes, 2048 + 10_000);
    assert.equal(seen[1]?.[0], 290_000);
  });

  it('reads over a short jump ahead and asks anew for a jump back', async () => {
    let jumps = 0;
    const { consumer } = collector((offset) => {
      if (offset === 0) return { kind: 'seek', offset: 30_000 };
      return offset > 100_000 && jumps++ === 0 ? { kind: 'seek', offset: 90_000 } : null;
    });
    assert.equal((await download(options(), consumer)).kind, 'ended');
    assert.deepEqual(
      server.requests.map((request) => request.range),
      [null, 'bytes=90000-'],
    );
  });

  it('follows a few redirects under the same rules', async () => {
    server.fault = once({ kind: 'redirect', location: '/file' });
    assert.equal((await download(options(), collector().consumer)).kind, 'ended');
    assert.equal(await failureReason({ kind: 'redirect', location: '/file' }), 'permanent redirects');
    server.resetCounters();
    assert.equal(
      await failureReason({ kind: 'redirect', location: 'http://example.com/file' }),
      'permanent url-refused',
    );
    assert.equal(await failureReason({ kind: 'redirect', location: 'file:///etc/passwd' }), 'permanent url-refused');
  });

  it('refuses a host that is not allowed without a request', async () => {
    const policy = { allowedHosts: ['models.example.com'], allowInsecureHttp: false };
    assert.equal(await failureReason({ kind: 'ignore-range' }, { policy }), 'permanent url-refused');
    assert.equal(server.gets, 0);
  });

  it('passes on the consumer’s failure and stops', async () => {
    const failure = { kind: 'permanent', reason: 'unsigned', message: 'no' } as const;
    const result = await download(options(), async () => ({ kind: 'failed', failure }));
    assert.deepEqual(result, { kind: 'failed', failure });
    assert.equal(server.gets, 1);
  });

  it('ends at once when aborted, also in a pause and in a stalled transfer', async () => {
    for (const fault of [
      { kind: 'stall', afterBytes: 10 },
      { kind: 'status', status: 503, retryAfter: '5' },
    ] as const) {
      server.fault = () => fault;
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 50);
      assert.deepEqual(await download(options({ signal: abort.signal }), collector().consumer), { kind: 'aborted' });
    }
  });

  it('comes home from a cut at every byte of a small file', async () => {
    const small = FILE.slice(0, 97);
    const little = await PatchServer.start(new Map([['file', small]]));
    try {
      for (let cut = 0; cut < small.length; cut++) {
        little.resetCounters();
        little.fault = once({ kind: 'cut', afterBytes: cut });
        const got: number[] = [];
        const result = await download(
          options({ url: little.urlOf('file'), size: small.length }),
          async (chunk, offset) => {
            assert.equal(offset, got.length);
            got.push(...chunk);
            return { kind: 'continue' };
          },
        );
        assert.equal(result.kind, 'ended');
        assert.deepEqual(Uint8Array.from(got), small);
        assert.equal(little.gets, 2, `the cut after ${cut} bytes fired`);
      }
    } finally {
      await little.stop();
    }
  });

  it('takes its time where it has a pace, over broken transfers too, and holds nothing against the server meanwhile', async () => {
    const rate = 200_000;
    server.fault = once({ kind: 'cut', afterBytes: 150_000 });
    const { consumer } = collector();
    const startedMs = performance.now();
    const limits = { ...LIMITS, stallTimeoutMs: 100, pace: new TokenBucket(rate) };
    assert.deepEqual(await download(options({ limits }), consumer), { kind: 'ended' });
    const seconds = (performance.now() - startedMs) / 1000;
    // Timers may be late, never early.
    assert.ok(seconds >= (FILE.length / rate) * 0.95, `${seconds} s`);
    const ends = server.requests.map(({ range }) =>
      /^bytes=(\d+)-(\d+)$/
        .exec(range ?? '')
        ?.slice(1)
        .map(Number),
    );
    assert.deepEqual(ends[0], [0, rate - 1], 'no more is asked for than a second takes');
    assert.equal(ends.at(-1)?.[1], FILE.length - 1);
    assert.equal(server.gets, 3);
  });

  it('keeps to its pace with a server that ignores Range, in one request', async () => {
    server.fault = () => ({ kind: 'ignore-range' });
    const { consumer } = collector();
    const pace = new TokenBucket(400_000);
    assert.deepEqual(await download(options({ limits: { ...LIMITS, pace } }), consumer), { kind: 'ended' });
    assert.equal(server.gets, 1);
  });

  it('is aborted while it waits for its pace', async () => {
    const abort = new AbortController();
    const limits = { ...LIMITS, pace: new TokenBucket(1024) };
    setTimeout(() => abort.abort(), 50);
    const { consumer } = collector();
    assert.deepEqual(await download(options({ limits, signal: abort.signal }), consumer), { kind: 'aborted' });
  });
});
