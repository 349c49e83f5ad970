/** A real update, without the thread and the broker, from an HTTP server that fails in one way and then does not. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { DownloadLimits } from '../agent/download.js';
import type { Job } from '../agent/machine-types.js';
import { runUpdate, type UpdateRunResult } from '../agent/update-run.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { DiskView, PatchGeometry } from './kills/disk.js';
import { localSession } from './support/local-session.js';
import { makePatch, noise, sha256Hex, testKeypair } from './support/make-patch.js';
import { type Fault, PatchServer } from './support/patch-server.js';

const KEYS = testKeypair(1);
const OLD = noise(40_000, 1);
const HEAD_BYTES = 2048;
/** A machine that is busy elsewhere is no stall. */
const LIMITS: DownloadLimits = { maxResumes: 1, resumeDelayMs: 1, stallTimeoutMs: 10_000, minBytesPerSecond: 0 };
const IMPATIENT: DownloadLimits = { ...LIMITS, stallTimeoutMs: 150 };
const NO_RESUMES: DownloadLimits = { ...LIMITS, maxResumes: 0 };
/** Slots in memory: thousands of updates would otherwise wait for the disk alone. */
const SCRATCH = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

interface Update {
  readonly target: Uint8Array;
  readonly patch: Uint8Array;
}

/** New bytes in so many places of the model; its segments are of 16 KiB. */
function updateWith(places: readonly number[], bytes: number): Update {
  const target = OLD.slice(0, 36_000);
  for (const at of places) target.set(noise(bytes, at), at);
  return { target, patch: makePatch(OLD, target, { privateKey: KEYS.privateKey, profile: 'mcu' }) };
}

const SMALL = updateWith([2000], 200);
/** Longer than the head that a resumed update asks for, with a journaled frame behind it. */
const LONGER = updateWith([2000, 5000, 20_000], 1100);
/** Of the longer one not every byte is a place to cut at: it takes its time. */
const STRIDE = 5;

describe('an update over HTTP', { timeout: 300_000 }, () => {
  let server: PatchServer;
  let folder: string;
  let slots: SlotDirectory;
  before(async () => {
    server = await PatchServer.start(
      new Map([
        ['small', SMALL.patch],
        ['longer', LONGER.patch],
      ]),
    );
  });
  after(() => server.stop());
  beforeEach(() => startDevice());
  afterEach(() => stopDevice());

  function startDevice(): void {
    folder = mkdtempSync(join(SCRATCH, 'mallorn-http-'));
    slots = SlotDirectory.open(folder, { create: true, blockLength: 4096 });
    slots.install(OLD);
    server.resetCounters();
    server.fault = () => null;
  }

  function stopDevice(): void {
    slots.close();
    rmSync(folder, { recursive: true, force: true });
  }

  /** The first request gets `fault`, the others are honest. */
  function once(fault: Fault): void {
    server.fault = (_, index) => (index === 0 ? fault : null);
  }

  async function attempt(update: Update, limits: DownloadLimits = LIMITS, again = false): Promise<UpdateRunResult> {
    const baseSha256 = sha256Hex(OLD);
    const url = server.urlOf(update === SMALL ? 'small' : 'longer');
    const desired = {
      id: 'd',
      orderId: 'o',
      model: 'm',
      version: '2',
      targetSha256: sha256Hex(update.target),
      patches: [],
    };
    const job: Job = { desired, choice: { kind: 'patch', url, size: update.patch.length, baseSha256 } };
    const policy = { allowedHosts: ['127.0.0.1'], allowInsecureHttp: false };
    const session = localSession(slots, [KEYS.publicKey]);
    const signal = new AbortController().signal;
    const result = await runUpdate({ session, job, again, header: null, policy, limits, signal });
    if (result.kind === 'staged') await session.commit();
    return result;
  }

  function reasonOf(result: UpdateRunResult): string {
    return result.kind === 'failed' ? `${result.failure.kind} ${result.failure.reason}` : result.kind;
  }

  function assertUpdated(result: UpdateRunResult, { target }: Update): void {
    assert.equal(reasonOf(result), 'staged');
    assert.deepEqual(new Uint8Array(readFileSync(slots.currentPath)), target);
  }

  /** Where an attempt that starts now has to go on in the file; null where it has nothing to go on from. */
  function resumesAt({ patch }: Update): number | null {
    const geometry = new PatchGeometry(patch);
    const checkpoint = new DiskView(folder, join(folder, 'none')).checkpoint(geometry);
    return checkpoint === null ? null : Math.max(geometry.fileOffset(checkpoint.frameIndex), HEAD_BYTES);
  }

  it('comes home in one attempt from a connection that broke after any byte of the patch', async () => {
    const { length } = SMALL.patch;
    for (let cut = 0; cut < length; cut++) {
      once({ kind: 'cut', afterBytes: cut });
      assertUpdated(await attempt(SMALL), SMALL);
      assert.equal(server.gets, 2, `the cut after ${cut} bytes fired`);
      const from = Number(/^bytes=(\d+)-$/.exec(server.requests[1]?.range ?? 'bytes=0-')?.[1]);
      assert.ok(from <= cut, `asked for byte ${from}, was cut after ${cut}`);
      assert.equal(server.bodyBytes, cut + length - from);
      stopDevice();
      startDevice();
    }
  });

  it('goes on at the next attempt from its journal, wherever the first was cut', async () => {
    const { length } = LONGER.patch;
    const resumed = new Set<number>();
    for (let cut = 0; cut < length; cut += STRIDE) {
      once({ kind: 'cut', afterBytes: cut });
      assert.equal(reasonOf(await attempt(LONGER, NO_RESUMES)), 'retryable network', `the cut at ${cut} fired`);
      const from = resumesAt(LONGER);
      server.resetCounters();
      server.fault = () => null;
      assertUpdated(await attempt(LONGER, NO_RESUMES, true), LONGER);
      assert.equal(server.bodyBytes, HEAD_BYTES + length - (from ?? HEAD_BYTES), `after a cut at ${cut}`);
      if (from !== null) resumed.add(from);
      stopDevice();
      startDevice();
    }
    assert.ok(
      [...resumed].some((from) => from > HEAD_BYTES),
      `resumed at ${[...resumed]}`,
    );
  });

  for (const [what, fault, requests] of [
    ['chunks and no length', { kind: 'chunked' }, 1],
    ['a redirect to the same host', { kind: 'redirect', location: '/longer' }, 2],
    ['a body that is longer than its length', { kind: 'length', shift: -500 }, 2],
    ['a body that ends before its length', { kind: 'length', shift: 500 }, 2],
    ['a compressed body', { kind: 'gzip' }, 2],
    ['a body that is longer than the patch', { kind: 'too-long', extraBytes: 5000 }, 2],
    [
      'other bytes under the same address, that are no patch',
      { kind: 'replace', bytes: noise(9000, 9), etag: '"9"' },
      1,
    ],
  ] as const satisfies [string, Fault, number][]) {
    it(`survives ${what}, then ends right`, async () => {
      once(fault);
      const first = await attempt(LONGER, IMPATIENT);
      assert.ok(server.gets >= requests, 'the fault fired');
      if (first.kind !== 'staged') assert.match(reasonOf(first), /^retryable /);
      assertUpdated(first.kind === 'staged' ? first : await attempt(LONGER, LIMITS, true), LONGER);
    });
  }

  for (const [what, fault, reason] of [
    ['never ends the head of its answer', { kind: 'slow-head', byteDelayMs: 10 }, 'retryable stalled'],
    ['sends nothing after some bytes', { kind: 'stall', afterBytes: 0 }, 'retryable stalled'],
    ['always compresses', { kind: 'gzip' }, 'retryable encoded'],
    ['promises more than there is', { kind: 'length', shift: 500 }, 'retryable wrong-size'],
    ['promises less than there is', { kind: 'length', shift: -500 }, 'retryable wrong-size'],
    ['sends more than the patch', { kind: 'too-long', extraBytes: 5000 }, 'retryable too-long'],
    ['redirects in a circle', { kind: 'redirect', location: '/longer' }, 'permanent redirects'],
    [
      'redirects to a host that is not allowed',
      { kind: 'redirect', location: 'https://x.example/' },
      'permanent url-refused',
    ],
    ['redirects to a file', { kind: 'redirect', location: 'file:///etc/passwd' }, 'permanent url-refused'],
    ['redirects to a data URL', { kind: 'redirect', location: 'data:,x' }, 'permanent url-refused'],
  ] as const satisfies [string, Fault, string][]) {
    it(`is given up with a reason where the server ${what}`, async () => {
      server.fault = () => fault;
      assert.equal(reasonOf(await attempt(LONGER, IMPATIENT)), reason);
      assert.deepEqual(new Uint8Array(readFileSync(slots.currentPath)), OLD);
    });
  }

  it('comes back not before the date that 429 names', async () => {
    // A date has no fractions of a second.
    const dueMs = Math.ceil(Date.now() / 1000) * 1000 + 1000;
    once({ kind: 'status', status: 429, retryAfter: new Date(dueMs).toUTCString() });
    assertUpdated(await attempt(LONGER), LONGER);
    assert.ok(Date.now() >= dueMs - 20, `came ${dueMs - Date.now()} ms early`);
    assert.equal(server.gets, 2);
  });

  for (const shift of [-300, 300]) {
    it(`takes every byte of a part whose length is ${shift} bytes off its Content-Range`, async () => {
      server.fault = (_, index) =>
        (
          [
            { kind: 'cut', afterBytes: 400 },
            { kind: 'length', shift },
          ] as const
        )[index] ?? null;
      assertUpdated(await attempt(LONGER), LONGER);
      assert.ok(server.gets >= 2, 'the fault fired');
    });
  }
});
