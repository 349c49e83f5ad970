/**
 * `npm run bench:size -- DIR [--neural] [--level N] [--profile gateway|mcu] [--in-place] [--only TEXT,TEXT]`: our patch for every pair in DIR beside
 * what other tools make of it (DIR/baseline.md). DIR has the layout of the shared model pairs: manifest.json, NAME/old.EXT,
 * NAME/new.EXT. Every patch is applied and compared, every size read from the file. Prints a table and, last, one JSON line.
 */

import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROFILES, type Profile } from '../core/limits.js';
import { HASH_BYTES } from '../core/patch/frames.js';
import { FIXED_HEADER_BYTES } from '../core/patch/header.js';
import { applyPatch, createPatch } from '../targets/node/index.js';

interface Pair {
  readonly name: string;
  readonly format: string;
  readonly what_changed: string;
}

/** Columns of baseline.md: what each tool makes of the new file, alone or given the old one. */
const TOOLS = [
  'zstd -19',
  'xz -9e',
  'brotli -q11',
  'bsdiff',
  'xdelta3 -9 lzma',
  'zstd -19 --patch-from',
  'hdiffz zlib',
  'hdiffz lzma2',
  'hdiffz zstd',
  'XOR+zstd -19',
  'XOR+xz -9e',
];
/** The delta tools that every distribution has. */
const COMMON_TOOLS = ['bsdiff', 'xdelta3 -9 lzma', 'zstd -19 --patch-from'];

/** Bytes by tool; a tool that could not be used on a pair is missing. */
type Baseline = ReadonlyMap<string, number>;

interface Row {
  readonly pair: string;
  readonly group: string;
  readonly newBytes: number;
  readonly patchBytes: number;
  /** Header, and one hash a frame but the last: what a patch costs before it says anything. */
  readonly overheadBytes: number;
  /** Best of bsdiff, xdelta3 and zstd --patch-from, and best of all tools in the table. */
  readonly bestCommon: number;
  readonly best: number;
  readonly bestTool: string;
  /** (patchBytes - overheadBytes) / bestCommon, and / best. */
  readonly ratioCommon: number;
  readonly ratio: number;
  readonly createMs: number;
  /** The microcontroller profile's patch of the same pair, where it was asked for; likewise without its header and frame hashes. */
  readonly mcuBytes: number | null;
  readonly mcuRatio: number | null;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    neural: { type: 'boolean', default: false },
    level: { type: 'string', default: '19' },
    profile: { type: 'string', default: 'gateway' },
    'in-place': { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    /** Pairs with a larger target are left out. */
    'most-bytes': { type: 'string', default: String(Number.MAX_SAFE_INTEGER) },
  },
});

async function main(folder: string): Promise<void> {
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Pair[];
  const baselines = readBaselines(join(folder, 'baseline.md'));
  const scratch = mkdtempSync(join(tmpdir(), 'mallorn-bench-'));
  console.log(
    `${'pair'.padEnd(34)}${['new', 'common best', 'best of all', 'mallorn', 'ratio', 'of all', 'mcu', 'of all'].map((h) => h.padStart(12)).join('')}`,
  );
  try {
    const rows: Row[] = [];
    for (const pair of manifest.filter(({ name }) => values.only.split(',').some((text) => name.includes(text)))) {
      const baseline = baselines.get(pair.name);
      const { size } = statSync(join(folder, pair.name, `new.${pair.format}`));
      if (baseline === undefined || size > Number(values['most-bytes'])) continue;
      const row = await measure(folder, scratch, pair, baseline);
      rows.push(row);
      print(row);
    }
    summarise(rows);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

async function measure(folder: string, scratch: string, pair: Pair, baseline: Baseline): Promise<Row> {
  const source = join(folder, pair.name, `old.${pair.format}`);
  const target = join(folder, pair.name, `new.${pair.format}`);
  const own = await patchFor(source, target, scratch, values.profile as Profile);
  // What a microcontroller could be sent instead, beside it: its codec is the neural one.
  const mcu = values.neural && values.profile === 'gateway' ? await patchFor(source, target, scratch, 'mcu') : null;
  const bestCommon = Math.min(...COMMON_TOOLS.map((tool) => baseline.get(tool) ?? Number.POSITIVE_INFINITY));
  const [bestTool, best] = [...baseline].reduce((a, b) => (b[1] < a[1] ? b : a));
  return {
    ...own,
    pair: pair.name,
    group: pair.what_changed,
    newBytes: statSync(target).size,
    bestCommon,
    best,
    bestTool,
    ratioCommon: (own.patchBytes - own.overheadBytes) / bestCommon,
    ratio: (own.patchBytes - own.overheadBytes) / best,
    mcuBytes: mcu?.patchBytes ?? null,
    mcuRatio: mcu === null ? null : (mcu.patchBytes - mcu.overheadBytes) / best,
  };
}

/** Creates the patch, applies it, compares, and takes its size from the file. */
async function patchFor(
  source: string,
  target: string,
  scratch: string,
  profile: Profile,
): Promise<Pick<Row, 'patchBytes' | 'overheadBytes' | 'createMs'>> {
  const patch = join(scratch, 'patch');
  const output = join(scratch, 'output');
  const started = performance.now();
  await createPatch(source, target, patch, {
    compressionLevel: Number(values.level),
    profile,
    neural: values.neural,
    inPlace: values['in-place'],
  });
  const createMs = performance.now() - started;
  await applyPatch(source, patch, output);
  if (!readFileSync(output).equals(readFileSync(target))) throw new Error(`${target}: the applied patch differs`);
  const patchBytes = statSync(patch).size;
  const header = FIXED_HEADER_BYTES + HASH_BYTES + 1;
  const frames = Math.ceil((patchBytes - header) / PROFILES[profile].frameBytes);
  return { patchBytes, overheadBytes: header + Math.max(0, frames - 1) * HASH_BYTES, createMs };
}

function readBaselines(path: string): Map<string, Baseline> {
  const baselines = new Map<string, Baseline>();
  let columns: string[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim());
    if (cells[1] === 'pair') columns = cells;
    const name = /^(.+)\.\w+$/.exec(cells[1] ?? '')?.[1];
    if (name === undefined) continue;
    const figures = TOOLS.map((tool) => [tool, Number(/\d+/.exec(cells[columns.indexOf(tool)] ?? '')?.[0])] as const);
    baselines.set(name, new Map(figures.filter(([, bytes]) => bytes > 0)));
  }
  return baselines;
}

function print(row: Row): void {
  const bytes = [row.newBytes, row.bestCommon, row.best, row.patchBytes].map((n) => String(n).padStart(12));
  const ratios = [row.ratioCommon, row.ratio].map((ratio) => ratio.toFixed(3).padStart(12));
  const { mcuBytes, mcuRatio } = row;
  const mcu = mcuRatio === null ? '' : `${String(mcuBytes).padStart(12)}${mcuRatio.toFixed(3).padStart(12)}`;
  console.log(`${row.pair.padEnd(34)}${bytes.join('')}${ratios.join('')}${mcu}`);
}

function summarise(rows: readonly Row[]): void {
  const groups = [...new Set(rows.map(({ group }) => group))].map((group) => {
    const members = rows.filter((row) => row.group === group);
    const common = statistics(members.map(({ ratioCommon }) => ratioCommon));
    const mcuRatios = members.flatMap(({ mcuRatio }) => mcuRatio ?? []);
    const mcu = mcuRatios.length === 0 ? null : statistics(mcuRatios);
    return { group, pairs: members.length, common, all: statistics(members.map(({ ratio }) => ratio)), mcu };
  });
  console.log('\n(mallorn - header - frame hashes) / best other tool, per pair: geometric mean, median, worst');
  for (const { group, pairs, common, all, mcu } of groups) {
    const figures = `of bsdiff, xdelta3, patch-from: ${show(common)}   of all: ${show(all)}${mcu === null ? '' : `   mcu: ${show(mcu)}`}`;
    console.log(`${group.padEnd(48)}${String(pairs).padStart(3)} pairs  ${figures}`);
  }
  const { level, profile, neural, 'in-place': inPlace } = values;
  console.log(JSON.stringify({ level: Number(level), profile, neural, inPlace, groups, rows }));
}

interface Statistics {
  readonly geometricMean: number;
  readonly median: number;
  readonly worst: number;
}

function statistics(ratios: readonly number[]): Statistics {
  const sorted = [...ratios].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return {
    geometricMean: Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length),
    median: sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2,
    worst: sorted.at(-1)!,
  };
}

function show({ geometricMean, median, worst }: Statistics): string {
  return `${geometricMean.toFixed(3)} ${median.toFixed(3)} ${worst.toFixed(3)}`;
}

const [folder] = positionals;
if (folder === undefined) {
  console.error(
    'usage: npm run bench:size -- DIR [--neural] [--level N] [--profile gateway|mcu] [--in-place] [--only TEXT,TEXT]',
  );
  process.exitCode = 2;
} else await main(folder);
