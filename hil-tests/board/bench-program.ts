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

const HASHED_BYTES = 65536;
/** Under QEMU's -icount shift=0: one a nanosecond. */
const INSTRUCTIONS_PER_MS = 1e6;
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

/** In thousandths. By hand: the firmware's engine has no functions to make text with. */
function say(name: string, value: number): void {
  const bytes = new Uint8Array(64);
  let length = 0;
  for (let i = 0; i < name.length; i++) bytes[length++] = name.charCodeAt(i);
  bytes[length++] = 0x3d;
  let rest = Math.max(0, Math.floor(1000 * value));
  let unit = 1;
  while (10 * unit <= rest) unit *= 10;
  for (; unit >= 1; unit = Math.floor(unit / 10)) {
    const digit = Math.floor(rest / unit);
    bytes[length++] = 0x30 + digit;
    rest -= digit * unit;
  }
  bytes[length++] = 0x0a;
  host.serialWrite(bytes.subarray(0, length));
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
  const bytes = new Uint8Array(256);
  source.read(0, bytes);
  const meter = new Meter();
  meter.run(() => {
    hasher.reset();
    for (let at = 0; at < HASHED_BYTES; at += bytes.length) hasher.update(bytes);
    hasher.digest(new Uint8Array(32));
  });
  say(name, (meter.ms * INSTRUCTIONS_PER_MS) / HASHED_BYTES);
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

/** Watched, it says what each phase takes; else what all of it takes, without the looking. */
function measureApply(sourceBytes: number, patchBytes: number, isWatched: boolean): void {
  const flash = new BoardFlash(host);
  const [watched, reading, writing, all] = [new MeteredHasher(), new Meter(), new Meter(), new Meter()];
  const hasher = isWatched ? watched : new BoardHasher(host);
  const watch = (region: FlashRegion): FlashDevice => (isWatched ? metered(region, reading, writing) : region);
  const blocks = (firstBlock: number, count: number): FlashRegion =>
    new FlashRegion(flash, { firstBlock, blocks: count });
  const source = watch(blocks(BENCH_PLACES.source, BENCH_PLACES.patch - BENCH_PLACES.source));
  const patch = blocks(BENCH_PLACES.patch, BENCH_PLACES.target - BENCH_PLACES.patch);
  const slot = watch(blocks(BENCH_PLACES.target, flash.status().blocks - BENCH_PLACES.target));
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
  if (!isWatched) {
    say('allMs', all.ms);
    return;
  }
  say('hashMs', watched.meter.ms);
  say('readMs', reading.ms);
  say('programMs', writing.ms);
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
  measureApply(read32(0), read32(4), true);
  measureApply(read32(0), read32(4), false);
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
