/**
 * Instructions of the emulated board by phase: `npm run bench:board` (scripts/hil-setup.sh must have run). QEMU's -icount counts them, so that
 * the figures do not depend on this machine. Per output byte, the serial line left out. Fails when a sparse update takes more than
 * the design allows.
 */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BENCH_BLOCK, BENCH_PLACES } from '../hil-tests/board/bench-places.js';
import { EmulatedBoard } from '../hil-tests/board/emulated-board.js';
import { FlashImage } from '../hil-tests/board/flash-image.js';
import { makePatch, sha256Hex } from '../hil-tests/support/make-patch.js';
import { buildFirmware, DEFAULT_STACK_BYTES } from './build-firmware.js';
import { root } from './esbuild-options.js';

const MODELS = join(root, '../shared/models');
const PAIRS = { sparse: 'mlperf-kws-a', dense: 'mww-okay-nabu-v1' } as const;
/** One instruction a nanosecond. */
const INSTRUCTIONS_PER_MS = 1e6;
/** The part has 768, the firmware's code takes the first 512. */
const RAM_BYTES = 256 << 10;
/** DESIGN: everything but the hash, on a sparse delta. */
const MOST_PER_BYTE = 3000;

const { elf } = await buildFirmware({
  name: 'bench',
  entry: 'hil-tests/board/bench-program.ts',
  signed: true,
  ramBytes: RAM_BYTES,
  stackBytes: DEFAULT_STACK_BYTES,
});
let failed = false;
const report: Record<string, Record<string, number>> = {};
for (const [name, pair] of Object.entries(PAIRS)) {
  if (!existsSync(join(MODELS, pair))) {
    console.log(`skipped: ${MODELS}/${pair} is not there`);
    continue;
  }
  const read = (file: string): Uint8Array => new Uint8Array(readFileSync(join(MODELS, pair, `${file}.tflite`)));
  const [source, target] = [read('old'), read('new')];
  const figures = await measure(source, makePatch(source, target, { neural: true, profile: 'mcu' }), target);
  const perByte = (ms: number): number => Math.round((ms * INSTRUCTIONS_PER_MS) / target.length);
  const at = (key: string): number => figures.get(key)!;
  const decodeMs = at('allMs') - at('hashMs') - at('readMs') - at('programMs');
  report[name] = {
    hashNative: Math.round(at('hashNative')),
    hashPortable: Math.round(at('hashPortable')),
    verifyMillions: Math.round(at('verifyMs')),
    verifyHeapBytes: at('verifyHeap'),
    hashPerOutputByte: perByte(at('hashMs')),
    read: perByte(at('readMs')),
    program: perByte(at('programMs')),
    decode: perByte(decodeMs),
    allButHash: perByte(at('allMs') - at('hashMs')),
  };
  console.log(`${pair} (${name}):`);
  for (const [phase, value] of Object.entries(report[name]!)) console.log(`  ${phase.padEnd(18)} ${value}`);
  if (name === 'sparse' && report[name]!['allButHash']! > MOST_PER_BYTE) failed = true;
}
if (failed) console.error(`a sparse update: expected at most ${MOST_PER_BYTE} instructions per byte beside the hash`);
console.log(JSON.stringify(report));
process.exit(failed ? 1 : 0);

/** Figures by name, as the program printed them; the flash then holds `target`. */
async function measure(
  source: Uint8Array,
  patch: Uint8Array,
  target: Uint8Array,
): Promise<ReadonlyMap<string, number>> {
  const image = new FlashImage();
  const lengths = new Uint8Array(new Uint32Array([source.length, patch.length]).buffer);
  image.program(0, lengths);
  image.program(BENCH_PLACES.source * BENCH_BLOCK, source);
  image.program(BENCH_PLACES.patch * BENCH_BLOCK, patch);
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-bench-'));
  const board = await EmulatedBoard.powerUp({ firmware: elf, folder, image, countInstructions: true });
  let text = '';
  let after: FlashImage;
  try {
    while (!/^end=0$/m.test(text)) {
      text += String((await once(board.serial, 'data'))[0]);
      if (text.includes('mallorn:')) throw new Error(text);
    }
  } finally {
    after = await board.cutPower();
  }
  rmSync(folder, { recursive: true });
  const start = BENCH_PLACES.target * BENCH_BLOCK;
  if (sha256Hex(after.bytes.subarray(start, start + target.length)) !== sha256Hex(target))
    throw new Error(`wrong target: ${text}`);
  return new Map(
    [...text.matchAll(/^(\w+)=(\S+)$/gm)].map(([, name, value]): [string, number] => [name!, Number(value) / 1000]),
  );
}
