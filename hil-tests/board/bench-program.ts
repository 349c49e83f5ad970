/**
 * A program for the firmware in place of the device's: applies one patch from flash to flash and prints what each phase took by the board's
 * clock, which under QEMU's -icount counts instructions. The serial line only carries the result, so nothing waits for it.
 */
import './bench-polyfills.js';
import { _SHA256 } from '@noble/hashes/sha2.js';
import { Applier } from '../../core/apply/applier.js';
import { FlashTarget } from '../../core/apply/flash-target.js';
import { FlashRegion } from '../../core/flash-region.js';
import type { ByteSource, FlashDevice, Hasher } from '../../core/ports.js';
import { BoardFlash, BoardHasher, SmallVerifier } from '../../targets/quickjs/board-ports.js';
import type { Host } from '../../targets/quickjs/host.js';
import { BENCH_BLOCK, BENCH_PLACES } from './bench-places.js';

declare const host: Host;

const HASHED_BYTES = 4096;
const CLOCK_PAIRS = 200;
const UNLIMITED = 2 ** 40;

/** Milliseconds of the board's clock spent in what is called through it, less what looking at the clock takes. */
class Meter {
  ms = 0;
  static lookMs = 0;

  run(work: () => void): void {
    const began = host.clock();
    work();
    this.ms += host.clock() - began - Meter.lookMs;
  }
}

function say(name: string, ms: number): void {
  // The build takes template literals, which it also makes of line ends, and strings with spaces for messages and leaves them out.
  const text = name.concat('=', String(ms), String.fromCharCode(10));
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  host.serialWrite(bytes);
}

class MeteredHasher implements Hasher {
  readonly meter = new Meter();
  private readonly inner = new BoardHasher(host);
  reset(): void {
    this.meter.run(() => this.inner.reset());
  }
  update(bytes: Uint8Array): void {
    this.meter.run(() => this.inner.update(bytes));
  }
  digest(into: Uint8Array): void {
    this.meter.run(() => this.inner.digest(into));
  }
}

/** PortableHasher without its library's wrapper, which needs more built-in objects. */
function portableHasher(): Hasher {
  let hash = new _SHA256();
  return {
    reset: () => {
      hash = new _SHA256();
    },
    update: (bytes) => {
      hash.update(bytes);
    },
    digest: (into) => {
      hash.digestInto(into);
    },
  };
}

function metered(flash: FlashDevice, reading: Meter, writing: Meter): FlashDevice {
  return {
    status: () => flash.status(),
    read: (offset, into) => reading.run(() => flash.read(offset, into)),
    eraseBlock: (index) => writing.run(() => flash.eraseBlock(index)),
    program: (offset, bytes) => writing.run(() => flash.program(offset, bytes)),
    sync: () => flash.sync(),
  };
}

function calibrate(): void {
  const meter = new Meter();
  for (let i = 0; i < CLOCK_PAIRS; i++) meter.run(() => {});
  Meter.lookMs = meter.ms / CLOCK_PAIRS;
}

function measureHash(name: string, hasher: Hasher, source: ByteSource): void {
  const bytes = new Uint8Array(HASHED_BYTES);
  source.read(0, bytes);
  const meter = new Meter();
  meter.run(() => {
    hasher.reset();
    for (let at = 0; at < bytes.length; at += 256) hasher.update(bytes.subarray(at, at + 256));
    hasher.digest(new Uint8Array(32));
  });
  say(name, meter.ms / HASHED_BYTES);
}

function measureVerify(): void {
  // RFC 8032, 7.1, TEST 1.
  const bytesOf = (hex: string): Uint8Array =>
    Uint8Array.from(Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16)));
  const key = bytesOf('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a');
  const signature = bytesOf(
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  );
  host.collectGarbage();
  const before = host.usage(0);
  const meter = new Meter();
  meter.run(() => {
    say('verified', new SmallVerifier().verify(key, new Uint8Array(0), signature) === 'valid' ? 1 : 0);
  });
  say('verifyMs', meter.ms);
  say('verifyHeap', host.usage(1) - before);
}

function measureApply(sourceBytes: number, patchBytes: number): void {
  const flash = new BoardFlash(host);
  const [hasher, reading, writing, all] = [new MeteredHasher(), new Meter(), new Meter(), new Meter()];
  const blocks = (firstBlock: number, count: number): FlashRegion =>
    new FlashRegion(flash, { firstBlock, blocks: count });
  const source = metered(blocks(BENCH_PLACES.source, BENCH_PLACES.patch - BENCH_PLACES.source), reading, writing);
  const patch = blocks(BENCH_PLACES.patch, BENCH_PLACES.target - BENCH_PLACES.patch);
  const slot = metered(blocks(BENCH_PLACES.target, flash.status().blocks - BENCH_PLACES.target), reading, writing);
  const applier = new Applier({
    source: { size: sourceBytes, read: (offset, into) => source.read(offset, into) },
    target: ({ targetSize }, buffer) => new FlashTarget({ flash: slot, targetSize, hasher, buffer }),
    hasher,
    verifier: new SmallVerifier(),
    decompressor: null,
    trustedKeys: [],
    policy: { maxBufferBytes: UNLIMITED, maxTargetBytes: UNLIMITED, family: null, deviceClass: null, counterFloor: 0 },
  });
  const chunk = new Uint8Array(512);
  let at = 0;
  let taken = chunk.length;
  for (let done = false; !done; ) {
    if (taken === chunk.length) {
      patch.read(at, chunk);
      taken = 0;
    }
    const end = Math.min(chunk.length, patchBytes - at + taken);
    all.run(() => {
      const result = applier.push(chunk.subarray(taken, end));
      taken += result.consumed;
      at += result.consumed;
      done = result.kind === 'done';
    });
  }
  say('hashMs', hasher.meter.ms);
  say('readMs', reading.ms);
  say('programMs', writing.ms);
  say('allMs', all.ms);
}

function run(): void {
  const lengths = new Uint8Array(8);
  host.flashRead(0, lengths);
  const read32 = (from: number): number =>
    lengths[from]! + lengths[from + 1]! * 256 + lengths[from + 2]! * 65536 + lengths[from + 3]! * 16777216;
  calibrate();
  const source: ByteSource = {
    size: read32(0),
    read: (offset, into) => host.flashRead(BENCH_PLACES.source * BENCH_BLOCK + offset, into),
  };
  measureVerify();
  measureHash('hashNative', new BoardHasher(host), source);
  measureHash('hashPortable', portableHasher(), source);
  measureApply(read32(0), read32(4));
  say('end', 0);
}

host.start = () => {
  let isDone = false;
  return () => {
    if (!isDone) run();
    isDone = true;
    return false;
  };
};
