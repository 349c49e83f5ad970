/** The synchronous side of an update over a real slot directory, without threads or network. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { failureOf } from '../agent/failure.js';
import { type SessionStep, UpdateSession } from '../agent/update-session.js';
import { IoError } from '../core/errors.js';
import { NodeHasher, NodeSignatureVerifier } from '../targets/node/hashing.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { createDecompressor } from '../targets/node/zstd-decompressor.js';
import { makePatch, noise, sha256Hex, testKeypair } from './support/make-patch.js';

const KEYS = testKeypair(1);
const OLD = noise(300_000, 1);
const NEW = noise(300_000, 2);
const PATCH = makePatch(OLD, NEW, { privateKey: KEYS.privateKey, profile: 'mcu' });
/** Copies the end of the old model, last. */
const LATE_COPY = new Uint8Array(Buffer.concat([noise(200_000, 3), OLD.subarray(200_000)]));
const RULES = {
  trustedKeys: [KEYS.publicKey],
  family: null,
  deviceClass: null,
  maxTargetBytes: 1 << 20,
  maxBufferBytes: 1 << 26,
  trial: false,
};

describe('update session', () => {
  let folder: string;
  let slots: SlotDirectory;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mallorn-session-'));
    slots = SlotDirectory.open(folder, { create: true });
    slots.install(OLD);
  });
  afterEach(() => {
    slots.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function openSession(rules: Partial<typeof RULES> = {}, target = NEW): UpdateSession {
    const ports = {
      slots,
      hasher: new NodeHasher(),
      verifier: new NodeSignatureVerifier(),
      decompressor: createDecompressor(),
    };
    const order = { baseSha256: sha256Hex(OLD), targetSha256: sha256Hex(target) };
    return new UpdateSession(ports, { ...RULES, ...rules }, order);
  }

  /** Feeds the file from `start` up to `end`, going where the session wants. Gives its last word and the bytes fed. */
  function feed(
    session: UpdateSession,
    patch: Uint8Array,
    end = patch.length,
    chunkBytes = 7000,
    start = 0,
  ): { step: SessionStep; fed: number } {
    let fed = 0;
    let at = start;
    for (;;) {
      const chunk = patch.slice(at, Math.min(at + chunkBytes, end));
      const step = session.push(chunk);
      fed += chunk.length;
      at = step.kind === 'seek' ? step.offset : at + chunk.length;
      if (step.kind === 'done' || at >= end) return { step, fed };
    }
  }

  it('applies a patch fed in pieces of any size', () => {
    for (const chunkBytes of [PATCH.length, 65536, 1000, 97]) {
      const session = openSession();
      assert.equal(feed(session, PATCH, PATCH.length, chunkBytes).step.kind, 'done');
    }
    const session = openSession();
    feed(session, PATCH);
    session.commit();
    assert.equal(Buffer.from(slots.active()?.sha256 ?? []).toString('hex'), sha256Hex(NEW));
    assert.deepEqual(new Uint8Array(readFileSync(slots.currentPath)), NEW);
  });

  it('goes on from the journal after a cut', () => {
    feed(openSession(), PATCH, 250_000);
    const { step, fed } = feed(openSession(), PATCH);
    assert.equal(step.kind, 'done');
    assert.ok(fed < PATCH.length / 2, `${fed} of ${PATCH.length} bytes`);
  });

  it('needs only the header once everything was written', () => {
    feed(openSession(), PATCH);
    assert.deepEqual(openSession().push(PATCH.slice(0, 2048)), { kind: 'done' });
  });

  it('starts afresh when the half it left in the slot has rotted', () => {
    feed(openSession(), PATCH, 250_000);
    flip(join(folder, 'b.model'), 1000);
    assert.throws(
      () => feed(openSession(), PATCH),
      (error) => failureOf(error).kind === 'retryable',
    );
    const { step, fed } = feed(openSession(), PATCH);
    assert.equal(step.kind, 'done');
    assert.ok(fed >= PATCH.length);
  });

  it('says that the base rotted while it was read, and not that the patch is wrong', () => {
    const patch = makePatch(OLD, LATE_COPY, { privateKey: KEYS.privateKey, profile: 'mcu' });
    const open = () => openSession({}, LATE_COPY);
    const base = join(folder, 'a.model');
    for (const isResumed of [false, true]) {
      const session = open();
      feed(session, patch, 100_000);
      flip(base, 290_000);
      const goOn = () => (isResumed ? feed(open(), patch) : feed(session, patch, patch.length, 7000, 100_000));
      assert.throws(goOn, { code: 'SOURCE_HASH_MISMATCH', message: /changed while it was read/ });
      assert.throws(
        () => feed(open(), patch),
        { code: 'SOURCE_HASH_MISMATCH', message: /^base model/ },
        'checked anew',
      );
      assert.equal(slots.active()?.size, OLD.length);
      flip(base, 290_000);
    }
    assert.equal(feed(open(), patch).step.kind, 'done', 'of a base that is right again');
  });

  for (const [what, damage] of [
    ['zeroed', (journal: Uint8Array) => journal.fill(0)],
    ['with a flipped bit in every byte', (journal: Uint8Array) => journal.map((byte) => byte ^ 4)],
    ['cut short', (journal: Uint8Array) => journal.subarray(0, 100)],
  ] as const) {
    it(`starts afresh over a journal that is ${what}`, () => {
      feed(openSession(), PATCH, 250_000);
      slots.close();
      const path = join(folder, 'b.journal');
      writeFileSync(path, damage(new Uint8Array(readFileSync(path))));
      slots = SlotDirectory.open(folder);
      const { step, fed } = feed(openSession(), PATCH);
      assert.equal(step.kind, 'done');
      assert.ok(fed >= PATCH.length, `${fed} bytes`);
    });
  }

  it('goes on from the record before one that rotted', () => {
    feed(openSession(), PATCH, 250_000);
    const path = join(folder, 'b.journal');
    const journal = readFileSync(path);
    let newest = 0;
    while (journal.readUInt32LE(newest + 76) === journal.readUInt32LE(0)) newest += 76;
    flip(path, newest + 30);
    const { step, fed } = feed(openSession(), PATCH);
    assert.equal(step.kind, 'done');
    assert.ok(fed < PATCH.length * 0.75, `${fed} of ${PATCH.length} bytes`);
  });

  it('knows a patch that ends too early', () => {
    const session = openSession();
    feed(session, PATCH, PATCH.length - 1);
    assert.throws(
      () => session.end(),
      (error) => failureOf(error).reason === 'truncated',
    );
  });

  it('refuses before it touches the slot', () => {
    const reason = (patch: Uint8Array, rules: Partial<typeof RULES> = {}): string => {
      try {
        feed(openSession(rules), patch);
      } catch (error) {
        const failure = failureOf(error);
        return `${failure.kind} ${failure.reason}`;
      }
      return 'applied';
    };
    assert.equal(reason(makePatch(OLD, NEW)), 'permanent unsigned');
    assert.equal(reason(makePatch(OLD, NEW, { privateKey: testKeypair(2).privateKey })), 'permanent unknown-signer');
    assert.equal(reason(makePatch(OLD, noise(300_000, 3), { privateKey: KEYS.privateKey })), 'permanent bad-header');
    assert.equal(reason(PATCH, { maxTargetBytes: 299_999 }), 'permanent flash-exceeded');
    assert.equal(reason(PATCH, { maxBufferBytes: 100 }), 'permanent buffers-exceeded');
    assert.equal(reason(new TextEncoder().encode('<html>please log in to this network</html>')), 'retryable bad-magic');
    assert.equal(slots.previous(), null);
    assert.throws(() => readFileSync(join(folder, 'b.model')), /ENOENT/);
  });

  it('refuses a base that is no longer the active model', () => {
    const session = openSession();
    feed(session, PATCH);
    session.commit();
    assert.throws(
      () => openSession(),
      (error) => failureOf(error).reason === 'wrong-base',
    );
  });

  it('never runs without a trusted key', () => {
    assert.throws(() => openSession({ trustedKeys: [] }), /trusts at least one key/);
  });

  it('finishes an update that is whole in the slot with its header alone, however short the patch', () => {
    const copied = makePatch(OLD, OLD.slice(0, 250_000), { privateKey: KEYS.privateKey });
    assert.ok(copied.length < 1000, `${copied.length}`);
    for (const [patch, target] of [
      [PATCH, NEW],
      [copied, OLD.slice(0, 250_000)],
    ] as const) {
      assert.equal(feed(openSession({}, target), patch).step.kind, 'done');
      const again = openSession({}, target);
      assert.deepEqual(again.push(patch.slice(0, 2048)), { kind: 'done' });
    }
  });

  it('asks for more than the header where the slot was lost', () => {
    assert.equal(feed(openSession(), PATCH).step.kind, 'done');
    rmSync(join(folder, 'b.model'));
    const again = openSession();
    assert.throws(() => feed(again, PATCH), IoError);
    assert.equal(feed(openSession(), PATCH).step.kind, 'done', 'the attempt after writes every byte itself');
  });
});

/** One rotten bit. */
function flip(path: string, offset: number): void {
  const file = openSync(path, 'r+');
  const byte = new Uint8Array(1);
  readSync(file, byte, 0, 1, offset);
  writeSync(
    file,
    byte.map((value) => value ^ 1),
    0,
    1,
    offset,
  );
  closeSync(file);
}
