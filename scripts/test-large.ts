/**
 * Models larger than memory should be: a sparse GGUF of more than 4 GiB and one of 2 GiB with 1 % of its tensors changed, each
 * created and applied by the built command line. Needs about 7 GB of disk for a minute or two and deletes it again.
 *
 *   npm run test:large [FOLDER]     FOLDER on the disk to use, default the system's temporary one
 */

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statfsSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Change, hashFile, type LargeModel, sizeOf, writeModel } from '../hil-tests/large/large-models.js';
import { type MeasuredRun, runMeasured } from '../hil-tests/large/measured-run.js';
import type * as library from '../targets/node/index.js';
import { root } from './esbuild-options.js';

const MIB = 1 << 20;
const DISK_BYTES = 7e9;
const MOST_RSS_KIB = 150 * 1024;
const MOST_REST_BYTES = 1024;
const FINGERPRINT_BYTES = 68 * 1024;
const FINGERPRINT_RUNS = 51;
const MOST_FINGERPRINT_MS = 10;

interface Case {
  readonly name: string;
  readonly model: LargeModel;
  readonly change: (tensor: number) => Change;
}

const CASES: readonly Case[] = [
  {
    name: 'a sparse GGUF of more than 4 GiB',
    // One in eight holds data, among them the first, the last, and those on either side of 2^32.
    model: { tensorCount: 289, tensorBytes: 16 * MIB, filled: (tensor) => tensor % 32 === 0 || tensor === 255 },
    // Behind 2^32, at its edge, and before it.
    change: (tensor) => (tensor === 255 || tensor === 288 ? 'tuned' : tensor === 7 ? 'replaced' : 'kept'),
  },
  {
    name: 'a GGUF of 2 GiB with 1 % of its tensors changed',
    model: { tensorCount: 2048, tensorBytes: MIB, filled: () => true },
    // 20 of 2048: every second one trained on, the others new.
    change: (tensor) => (tensor % 100 !== 50 ? 'kept' : tensor % 200 === 50 ? 'tuned' : 'replaced'),
  },
];

const cli = join(root, 'dist/cli.js');
const failures: string[] = [];
const figures: Record<string, unknown>[] = [];
const parent = process.argv[2] ?? tmpdir();

function expect(truth: boolean, message: string): void {
  if (truth) return;
  failures.push(message);
  console.log(`  FAILED: ${message}`);
}

const free = statfsSync(parent);
if (free.bavail * free.bsize < DISK_BYTES) {
  console.log(`skipped: ${parent} has ${free.bavail * free.bsize} bytes free, ${DISK_BYTES} are needed`);
  console.log(JSON.stringify({ failed: 0, skipped: CASES.length, cases: [] }));
} else {
  for (const one of CASES) {
    console.log(one.name);
    const folder = mkdtempSync(join(parent, 'mallorn-large-'));
    try {
      figures.push(await check(one, (name) => join(folder, name)));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  console.log(JSON.stringify({ failed: failures.length, skipped: 0, cases: figures }));
}
if (failures.length > 0) process.exitCode = 1;

async function check({ name, model, change }: Case, at: (file: string) => string): Promise<Record<string, unknown>> {
  const [source, target, patch, output] = [at('old.gguf'), at('new.gguf'), at('patch'), at('output.gguf')];
  writeModel(source, model);
  writeModel(target, model, change);
  const print = await measureFingerprint(target);
  const expected = hashFile(target);
  const create = await runMeasured([cli, 'create', source, target, '-o', patch, '--json']);
  report('create', create);
  // Makes room for the output; what it should be is known by its hash.
  rmSync(target);
  const apply = await runMeasured([cli, 'apply', source, patch, '-o', output, '--json']);
  report('apply', apply);
  expect(hashFile(output) === expected, 'the output is the target, byte for byte');
  const info = await runMeasured([cli, 'info', patch, '--verbose', '--json']);
  const sizes = patchParts(JSON.parse(info.stdout) as Info);
  const changes = Array.from({ length: model.tensorCount }, (_, tensor) => change(tensor));
  const changedBytes = changes.filter((kind) => kind !== 'kept').length * model.tensorBytes;
  const stats = JSON.parse(create.stdout) as library.PatchStats;
  assert.equal(sizes.patchBytes, statSync(patch).size);
  expect(stats.tensorsModified === changedBytes / model.tensorBytes, `${stats.tensorsModified} tensors are modified`);
  expect(sizes.patchBytes <= changedBytes, `${sizes.patchBytes} bytes, for ${changedBytes} of changed tensors`);
  expect(sizes.restBytes < MOST_REST_BYTES, `the unchanged rest costs ${sizes.restBytes} bytes`);
  console.log(
    `  patch ${sizes.patchBytes} of ${changedBytes} changed bytes, ${sizes.restBytes} for the unchanged rest`,
  );
  return {
    name,
    targetBytes: sizeOf(model),
    changedBytes,
    ...sizes,
    ...print,
    createSeconds: create.seconds,
    createRssKiB: create.peakRssKiB,
    applySeconds: apply.seconds,
    applyRssKiB: apply.peakRssKiB,
  };
}

function report(what: string, { seconds, peakRssKiB }: MeasuredRun): void {
  const memory = peakRssKiB === null ? 'memory not measured: no /proc' : `${peakRssKiB} KiB at most`;
  console.log(`  ${what}: ${seconds.toFixed(1)} s, ${memory}`);
  if (peakRssKiB !== null) expect(peakRssKiB <= MOST_RSS_KIB, `${what} takes ${peakRssKiB} of ${MOST_RSS_KIB} KiB`);
}

interface Info extends library.PatchInfo {
  readonly segments: library.PatchExplanation['segments'];
}

/** The rest: everything but the segments that code something, and the hashes of the frames they are in. */
function patchParts({ patchSize, frameBytes, segments }: Info): { patchBytes: number; restBytes: number } {
  const coded = segments.filter(({ kind }) => kind !== 'copy').reduce((sum, { patchBytes }) => sum + patchBytes, 0);
  const hashes = 16 * Math.ceil(coded / (frameBytes - 16));
  return { patchBytes: patchSize, restBytes: patchSize - coded - hashes };
}

/** In this process, through the built library, so that what it reads can be counted. */
async function measureFingerprint(path: string): Promise<{ fingerprintBytes: number; fingerprintMs: number }> {
  const { fingerprint } = (await import(pathToFileURL(join(root, 'dist/index.js')).href)) as typeof library;
  const handle = await open(path);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const { read } = prototype;
  let bytes = 0;
  prototype.read = async function counted(this: FileHandle, ...args: unknown[]) {
    const result = await (read as (...args: unknown[]) => Promise<{ bytesRead: number }>).apply(this, args);
    bytes += result.bytesRead;
    return result;
  } as FileHandle['read'];
  const times: number[] = [];
  try {
    await fingerprint(path);
    expect(bytes > 0 && bytes <= FINGERPRINT_BYTES, `fingerprint reads ${bytes} bytes`);
  } finally {
    prototype.read = read;
  }
  for (let i = 0; i < FINGERPRINT_RUNS; i++) {
    const start = performance.now();
    await fingerprint(path);
    times.push(performance.now() - start);
  }
  const median = times.sort((a, b) => a - b)[FINGERPRINT_RUNS >> 1]!;
  expect(median < MOST_FINGERPRINT_MS, `fingerprint takes ${median} ms`);
  console.log(`  fingerprint: ${bytes} bytes read, median ${median.toFixed(2)} ms of ${FINGERPRINT_RUNS} runs`);
  return { fingerprintBytes: bytes, fingerprintMs: median };
}
