/** Runs the contract suites on every adapter of this repository that needs no device attached. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FlashRegion } from '../../core/flash-region.js';
import { MemorySource } from '../../core/memory-source.js';
import type { SlotStore } from '../../core/ports.js';
import { FlashSlots } from '../../core/slots/flash-slots.js';
import { planLayout, regionsOf } from '../../core/slots/layout.js';
import { type EraseMode, FileFlash } from '../../targets/node/file-flash.js';
import { FileSource } from '../../targets/node/file-source.js';
import { NodeHasher, NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { SlotDirectory } from '../../targets/node/slot-directory.js';
import { createCompressor } from '../../targets/node/zstd-compressor.js';
import { createDecompressor } from '../../targets/node/zstd-decompressor.js';
import { SmallVerifier } from '../../targets/quickjs/board-ports.js';
import * as portable from '../../targets/quickjs/portable.js';
import { SimFlash } from '../../targets/sim/nor-flash.js';
import { nobleVerifier } from '../support/noble-verifier.js';
import { byteSourceContract } from './byte-source-contract.js';
import { decompressorContract } from './decompressor-contract.js';
import { flashContract } from './flash-contract.js';
import { hasherContract } from './hasher-contract.js';
import { signatureVerifierContract } from './signature-verifier-contract.js';
import { slotStoreContract } from './slot-store-contract.js';

const KIB = 1024;

for (const [blockLength, writeAlign, eraseValue] of [
  [256, 1, 0xff],
  [512, 4, 0x00],
  [4 * KIB, 1, 0xff],
  [4 * KIB, 8, 0xff],
  [4 * KIB, 16, 0x00],
  [64 * KIB, 32, 0xff],
  [128 * KIB, 16, 0xff],
  [128 * KIB, 1, 0x00],
] as const) {
  const name = `SimFlash ${blockLength} B blocks, write ${writeAlign}, erased 0x${eraseValue.toString(16)}`;
  const part = () => new SimFlash({ size: 4 * blockLength, blockLength, writeAlign, eraseValue });
  flashContract(name, () => {
    const device = part();
    return { device, reopen: () => device };
  });
}

flashContract('SimFlash that programs by the page', () => {
  const device = new SimFlash({
    size: 16 * KIB,
    blockLength: 4 * KIB,
    writeAlign: 4,
    eraseValue: 0xff,
    pageLength: 256,
  });
  return { device, reopen: () => device };
});

flashContract('FlashRegion of a SimFlash', () => {
  const part = new SimFlash({ size: 8 * KIB, blockLength: KIB, writeAlign: 8, eraseValue: 0xff });
  const range = { firstBlock: 2, blocks: 4 };
  return { device: new FlashRegion(part, range), reopen: () => new FlashRegion(part, range) };
});

for (const [erase, eraseValue] of [
  ['eager', 0xff],
  ['eager', 0x00],
  ['lazy', 0xff],
] as const) {
  const make = () => fileFlash(erase, eraseValue);
  flashContract(`FileFlash ${erase}, erased 0x${eraseValue.toString(16)}`, make, { readsErased: erase === 'eager' });
}

byteSourceContract('MemorySource', (bytes) => ({ source: new MemorySource(bytes) }));

byteSourceContract('FileSource', (bytes) => {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-contract-'));
  const path = join(folder, 'model');
  writeFileSync(path, bytes);
  const source = new FileSource(path);
  const dispose = (): void => {
    source.close();
    rmSync(folder, { recursive: true });
  };
  return { source, dispose };
});

hasherContract('NodeHasher', () => new NodeHasher());
hasherContract('PortableHasher', () => new portable.PortableHasher());

signatureVerifierContract('NodeSignatureVerifier', () => new NodeSignatureVerifier());
signatureVerifierContract('SmallVerifier', () => new SmallVerifier());
signatureVerifierContract('noble', () => nobleVerifier);

decompressorContract('WebAssembly', createDecompressor, createCompressor());
decompressorContract('portable', portable.createDecompressor, createCompressor());

slotStoreContract('SlotDirectory', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-contract-'));
  let store = SlotDirectory.open(folder);
  const reopen = (): SlotDirectory => {
    store.close();
    store = SlotDirectory.open(folder);
    return store;
  };
  const dispose = (): void => {
    store.close();
    rmSync(folder, { recursive: true });
  };
  return { store, reopen, dispose };
});

for (const [blockLength, writeAlign, eraseValue] of [
  [KIB, 32, 0x00],
  [4 * KIB, 1, 0xff],
  [64 * KIB, 16, 0xff],
] as const) {
  const name = `FlashSlots on ${blockLength} B blocks, write ${writeAlign}, erased 0x${eraseValue.toString(16)}`;
  slotStoreContract(name, () => {
    const part = new SimFlash({ size: 1536 * KIB, blockLength, writeAlign, eraseValue });
    const regions = regionsOf(part, planLayout(part.status()));
    FlashSlots.format(regions);
    const reopen = (): FlashSlots => FlashSlots.open(regions, { trialBoots: 0 });
    return { store: reopen(), reopen };
  });
}

slotStoreContract('FlashSlots whose trials are confirmed at once', () => {
  const part = new SimFlash({ size: 1536 * KIB, blockLength: 4 * KIB, writeAlign: 8, eraseValue: 0xff });
  const regions = regionsOf(part, planLayout(part.status()));
  FlashSlots.format(regions);
  const reopen = (): SlotStore => {
    const store = FlashSlots.open(regions);
    const commit: SlotStore['commit'] = (contents, minimumCounter) => {
      store.commit(contents, minimumCounter);
      store.boot();
      store.confirm();
    };
    return Object.assign(Object.create(store) as FlashSlots, { commit });
  };
  return { store: reopen(), reopen };
});

function fileFlash(erase: EraseMode, eraseValue: number) {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-contract-'));
  const opened: FileFlash[] = [];
  const open = (): FileFlash => {
    const flash = FileFlash.open(join(folder, 'flash'), { size: 4 * KIB, blockLength: KIB, erase, eraseValue });
    opened.push(flash);
    return flash;
  };
  const dispose = (): void => {
    for (const flash of opened) flash.close();
    rmSync(folder, { recursive: true });
  };
  return { device: open(), reopen: open, dispose };
}
