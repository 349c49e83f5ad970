/**
 * The order of checks, probed: how many bytes reach a decoder, a flash, the base, the buffers or a reader of fields before what
 * vouches for them was checked. Always none, for two slots, in place and the agent's session, a byte at a time.
 */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type TrialSlots, UpdateSession } from '../agent/update-session.js';
import { Applier, type ApplierOptions } from '../core/apply/applier.js';
import { FlashTarget } from '../core/apply/flash-target.js';
import { Journal } from '../core/apply/journal.js';
import { ANY } from '../core/apply/run-patch.test.js';
import { createMixedModels } from '../core/codec/mixed-models.js';
import { MallornError } from '../core/errors.js';
import { MemorySource } from '../core/memory-source.js';
import { describePatch } from '../core/patch/build-patch.test.js';
import { HASH_BYTES } from '../core/patch/frames.js';
import { SIGNATURE_BLOCK_BYTES } from '../core/patch/signatures.js';
import type { ByteSource, Decompressor, FlashDevice } from '../core/ports.js';
import { NodeHasher, NodeSignatureVerifier } from '../targets/node/hashing.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { createCompressor } from '../targets/node/zstd-compressor.js';
import { createDecompressor } from '../targets/node/zstd-decompressor.js';
import { SimFlash } from '../targets/sim/nor-flash.js';
import { makePatch, noise, sha256, sha256Hex, testKeypair } from './support/make-patch.js';

const KEYS = testKeypair(1);
const PART = { size: 1 << 16, blockLength: 4096, writeAlign: 4, eraseValue: 0xff };
const OLD = noise(40_000, 1);
const NEW = OLD.slice();
NEW.set(noise(3000, 2), 9000);
for (let i = 20_000; i < 24_000; i += 7) NEW[i]! += 1;

/** What was done with bytes of the patch. Hashing and comparing is not counted: that is how they are authenticated. */
class Work {
  /** Bytes given to a decoder. */
  decoded = 0;
  /** Bytes and blocks changed in any flash, journal included. */
  flashed = 0;
  /** Bytes of memory that a header asked for. */
  memory = 0;
  /** Bytes read of the base. */
  read = 0;
  /** Limits of the device that a field was held against. */
  judged = 0;

  flash(device: FlashDevice): FlashDevice {
    return {
      status: () => device.status(),
      read: (offset, into) => device.read(offset, into),
      eraseBlock: (index) => {
        this.flashed++;
        device.eraseBlock(index);
      },
      program: (offset, bytes) => {
        this.flashed += bytes.length;
        device.program(offset, bytes);
      },
      sync: () => device.sync(),
    };
  }

  source(source: ByteSource): ByteSource {
    return {
      size: source.size,
      read: (offset, into) => {
        this.read += into.length;
        source.read(offset, into);
      },
    };
  }

  decompressor(inner: Decompressor): Decompressor {
    return {
      decompress: (dictionary, packed, plain) => {
        this.decoded += packed.length;
        inner.decompress(dictionary, packed, plain);
      },
    };
  }

  /** Counts each look at a limit. */
  watched<T extends object>(limits: T): T {
    return new Proxy(limits, {
      get: (target, key) => {
        this.judged++;
        return Reflect.get(target, key);
      },
    });
  }

  slots(slots: TrialSlots): TrialSlots {
    return {
      active: () => slots.active(),
      previous: () => slots.previous(),
      counterFloor: () => slots.counterFloor(),
      openActive: () => this.source(slots.openActive()),
      openInactive: (size) => {
        this.flashed++;
        return this.flash(slots.openInactive(size));
      },
      journal: () => this.flash(slots.journal()),
      commit: (contents, minimum, onTrial) => slots.commit(contents, minimum, onTrial),
      trial: () => slots.trial(),
      confirm: () => slots.confirm(),
      rollback: () => slots.rollback(),
      requireRoom: (size) => slots.requireRoom(size),
      dropPrevious: () => slots.dropPrevious(),
    };
  }

  snapshot(): Record<string, number> {
    const { decoded, flashed, memory, read, judged } = this;
    return { decoded, flashed, memory, read, judged };
  }
}

const NONE = new Work().snapshot();

interface Device {
  readonly work: Work;
  /** Feeds bytes and lets all work be done that they allow; the offset it seeks, or null. */
  push(chunk: Uint8Array): number | null;
}

const portsOf = (work: Work): Omit<ApplierOptions, 'source' | 'target'> => ({
  hasher: new NodeHasher(),
  verifier: new NodeSignatureVerifier(),
  decompressor: work.decompressor(createDecompressor()),
  mixedModels: createMixedModels,
  trustedKeys: [KEYS.publicKey],
  policy: work.watched(ANY),
  memory: (byteLength) => {
    work.memory += byteLength;
    return new Uint8Array(byteLength);
  },
});

function pushAll(applier: Applier, chunk: Uint8Array): number | null {
  for (let rest = chunk; ; ) {
    const result = applier.push(rest);
    rest = rest.subarray(result.consumed);
    if (result.kind === 'seek') return result.patchOffset;
    if (result.kind !== 'busy') return null;
  }
}

function twoSlots(): Device {
  const work = new Work();
  const slot = work.flash(new SimFlash(PART));
  const journal = work.flash(new SimFlash({ ...PART, size: 1 << 14 }));
  const applier = new Applier({
    ...portsOf(work),
    source: work.source(new MemorySource(OLD)),
    target: ({ targetSize }, buffer) => new FlashTarget({ flash: slot, targetSize, hasher: new NodeHasher(), buffer }),
    journal: () => new Journal(journal),
  });
  return { work, push: (chunk) => pushAll(applier, chunk) };
}

function oneSlot(): Device {
  const work = new Work();
  const slot = new SimFlash(PART);
  const model = new Uint8Array(PART.size).fill(0xff);
  model.set(OLD);
  slot.program(0, model);
  const readable = work.flash(slot);
  const target = {
    slot: { ...readable, read: work.source({ size: PART.size, read: (at, into) => slot.read(at, into) }).read },
    scratch: work.flash(new SimFlash({ ...PART, size: 1 << 14 })),
  };
  const journal = work.flash(new SimFlash({ ...PART, size: 1 << 14 }));
  const applier = new Applier({ ...portsOf(work), source: null, target, journal: () => new Journal(journal) });
  return { work, push: (chunk) => pushAll(applier, chunk) };
}

const folder = mkdtempSync(join(tmpdir(), 'mallorn-order-'));
const opened: SlotDirectory[] = [];
after(() => {
  for (const slots of opened) slots.close();
  rmSync(folder, { recursive: true });
});

function session(): Device {
  const work = new Work();
  const slots = SlotDirectory.open(join(folder, String(opened.length)), { create: true });
  opened.push(slots);
  slots.install(OLD);
  const { hasher, verifier, decompressor } = portsOf(work);
  const ports = { slots: work.slots(slots), hasher, verifier, decompressor: decompressor! };
  const rules = { trustedKeys: [KEYS.publicKey], family: null, deviceClass: null, trial: false };
  const limits = { maxTargetBytes: 1 << 20, maxBufferBytes: 1 << 26 };
  const order = { baseSha256: sha256Hex(OLD), targetSha256: sha256Hex(NEW) };
  const update = new UpdateSession(ports, { ...rules, ...limits }, order);
  return {
    work,
    push: (chunk) => {
      const step = update.push(chunk);
      return step.kind === 'seek' ? step.offset : null;
    },
  };
}

const OPTIONS = {
  privateKey: KEYS.privateKey,
  profile: 'mcu',
  versionCounter: 1,
  compressor: createCompressor(),
} as const;
const ORDINARY = describePatch(makePatch(OLD, NEW, OPTIONS));
const NEURAL = describePatch(makePatch(OLD, NEW, { ...OPTIONS, neural: true }));
const IN_PLACE = describePatch(makePatch(OLD, NEW, { ...OPTIONS, unitBytes: 16_384 }));

for (const [what, patch, make] of [
  ['two slots', ORDINARY, twoSlots],
  ['two slots, neural', NEURAL, twoSlots],
  ['in place', IN_PLACE, oneSlot],
  ["the agent's session", ORDINARY, session],
  ["the agent's session, neural", NEURAL, session],
] as const) {
  describe(`order of checks: ${what}`, () => {
    const { bytes, preambleBytes, headerBytes, geometry, header } = patch;
    const ends = new Set(
      Array.from({ length: geometry.count }, (_, i) => preambleBytes + geometry.wireOffset(i) + geometry.lengthOf(i)),
    );

    test('is worth probing: several frames, applied whole, and every count rises', () => {
      assert.ok(geometry.count >= 4, `${geometry.count} frames`);
      const device = make();
      assert.deepEqual(device.work.snapshot(), NONE);
      for (let at = 0; at < bytes.length; at += 500) device.push(bytes.slice(at, at + 500));
      const { flashed, read, memory, judged, decoded } = device.work;
      assert.ok(flashed > 5000 && read >= OLD.length, JSON.stringify(device.work));
      // The session has memory and limits of its own; the neural codec is no port.
      if (make !== session) assert.ok(memory > 0 && judged > 0, JSON.stringify(device.work));
      if (header.codec === 'zstd') assert.ok(decoded > 0);
    });

    test('0 bytes of the header are used before the last byte of the signatures', () => {
      const device = make();
      for (let at = 0; at < preambleBytes - 1; at++) device.push(bytes.slice(at, at + 1));
      assert.deepEqual(device.work.snapshot(), NONE);
      device.push(bytes.slice(preambleBytes - 1, preambleBytes));
      assert.notDeepEqual(device.work.snapshot(), NONE);
    });

    test('0 bytes of a frame are used before its last byte', () => {
      const device = make();
      device.push(bytes.slice(0, preambleBytes));
      let before = device.work.snapshot();
      let frames = 0;
      for (let at = preambleBytes; at < bytes.length; at++) {
        device.push(bytes.slice(at, at + 1));
        const now = device.work.snapshot();
        if (ends.has(at + 1)) frames++;
        else assert.deepEqual(now, before, `byte ${at} of a frame was used before the frame was whole`);
        before = now;
      }
      assert.equal(frames, geometry.count);
    });

    test('0 bytes of a frame that does not match are used', () => {
      for (let index = 0; index < geometry.count; index++) {
        const start = preambleBytes + geometry.wireOffset(index);
        const forged = bytes.slice(start, start + geometry.lengthOf(index));
        forged[forged.length - 1]! ^= 1;
        const device = make();
        for (let at = 0; at < start; at += 500) device.push(bytes.slice(at, Math.min(at + 500, start)));
        const before = device.work.snapshot();
        try {
          assert.equal(device.push(forged.slice()), start, 'asks for it again');
        } catch (error) {
          assert.ok(error instanceof MallornError && error.code === 'BAD_FRAME', String(error));
        }
        assert.deepEqual(device.work.snapshot(), before, `frame ${index}`);
      }
    });

    test('0 fields are read before the signature: a hostile one is unsigned first, whatever it says', () => {
      const code = (preamble: Uint8Array): string => {
        const device = make();
        try {
          device.push(preamble.slice());
        } catch (error) {
          assert.deepEqual(device.work.snapshot(), NONE);
          assert.ok(error instanceof MallornError, String(error));
          return error.code;
        }
        return 'accepted';
      };
      // Magic, version and header length are what finds the signatures.
      const finding = [0, 1, 2, 3, 4, 12, 13];
      // A session costs a folder.
      const step = make === session ? 6 : 1;
      for (let at = 0; at < headerBytes - HASH_BYTES; at += step) {
        if (finding.includes(at)) continue;
        const hostile = bytes.slice(0, preambleBytes);
        hostile[at] = hostile[at] === 0xff ? 0x7f : 0xff;
        hostile.set(
          sha256(hostile.subarray(0, headerBytes - HASH_BYTES)).subarray(0, HASH_BYTES),
          headerBytes - HASH_BYTES,
        );
        assert.equal(code(hostile), 'BAD_SIGNATURE', `byte ${at}`);
        const unsigned = new Uint8Array(headerBytes + 1 + SIGNATURE_BLOCK_BYTES);
        unsigned.set(hostile.subarray(0, headerBytes));
        assert.equal(code(unsigned), 'UNSIGNED', `byte ${at}`);
      }
    });
  });
}
