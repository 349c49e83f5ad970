/**
 * `npm run bench:size -- DIR [--level N] [--profile gateway|mcu] [--only TEXT]`: our patch for every pair in DIR beside what other
 * tools make of it (DIR/baseline.md). DIR has the layout of the shared model pairs: manifest.json, NAME/old.EXT, NAME/new.EXT.
 * Every patch is applied and compared, every size read from the file. Prints a table and, last, one JSON line.
 */

import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROFILES, type Profile } from '../core/limits.js';
import { HASH_BYTES } from '../core/patch/frames.js';
import { FIXED_HEADER_BYTES } from '../core/patch/header.js';
import { applyPatch, createPatch, patchInfo } from '../targets/node/index.js';

interface Pair {
  readonly name: string;
  readonly format: string;
  readonly what_changed: string;
}

/** Tools of baseline.md that take two files, and the column each has there. */
const TOOLS = { bsdiff: 'bsdiff', xdelta3: 'xdelta3 -9 lzma', patchFrom: 'zstd -19 --patch-from' } as const;
type Tool = keyof typeof TOOLS;

interface Row {
  readonly pair: string;
  readonly group: string;
  readonly newBytes: number;
  readonly patchBytes: number;
  /** Header, and one hash a frame but the last: what a patch costs before it says anything. */
  readonly overheadBytes: number;
  readonly others: Readonly<Record<Tool, number>>;
  readonly bestOther: number;
  /** (patchBytes - overheadBytes) / bestOther. */
  readonly ratio: number;
  readonly createMs: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    level: { type: 'string', default: '19' },
    profile: { type: 'string', default: 'gateway' },
    only: { type: 'string', default: '' },
  },
});

async function main(folder: string): Promise<void> {
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Pair[];
  const baseline = readBaseline(join(folder, 'baseline.md'));
  const scratch = mkdtempSync(join(tmpdir(), 'mallorn-bench-'));
  try {
    const rows: Row[] = [];
    for (const pair of manifest.filter(({ name }) => name.includes(values.only))) {
      const others = baseline.get(pair.name);
      if (others === undefined) continue;
      const row = await measure(folder, scratch, pair, others);
      rows.push(row);
      print(row);
    }
    summarise(rows);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

async function measure(folder: string, scratch: string, pair: Pair, others: Row['others']): Promise<Row> {
  const source = join(folder, pair.name, `old.${pair.format}`);
  const target = join(folder, pair.name, `new.${pair.format}`);
  const patch = join(scratch, 'patch');
  const output = join(scratch, 'output');
  const profile = values.profile as Profile;
  const started = performance.now();
  await createPatch(source, target, patch, { compressionLevel: Number(values.level), profile });
  const createMs = performance.now() - started;
  await applyPatch(source, patch, output);
  if (!readFileSync(output).equals(readFileSync(target))) throw new Error(`${pair.name}: the applied patch differs`);
  const patchBytes = statSync(patch).size;
  const { frameBytes } = PROFILES[profile];
  const header = FIXED_HEADER_BYTES + HASH_BYTES + 1;
  const frames = Math.ceil((patchBytes - header) / frameBytes);
  const overheadBytes = header + Math.max(0, frames - 1) * HASH_BYTES;
  const bestOther = Math.min(...Object.values(others));
  const ratio = (patchBytes - overheadBytes) / bestOther;
  const { targetSize } = await patchInfo(patch);
  return {
    pair: pair.name,
    group: pair.what_changed,
    newBytes: targetSize,
    patchBytes,
    overheadBytes,
    others,
    bestOther,
    ratio,
    createMs,
  };
}

function readBaseline(path: string): Map<string, Row['others']> {
  const rows = new Map<string, Row['others']>();
  let columns: string[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim());
    if (cells[1] === 'pair') columns = cells;
    const name = /^(.+)\.\w+$/.exec(cells[1] ?? '')?.[1];
    if (name === undefined || columns.length === 0) continue;
    const bytes = (tool: Tool) => Number(/\d+/.exec(cells[columns.indexOf(TOOLS[tool])] ?? '')?.[0]);
    rows.set(name, { bsdiff: bytes('bsdiff'), xdelta3: bytes('xdelta3'), patchFrom: bytes('patchFrom') });
  }
  return rows;
}

function print(row: Row): void {
  if (!printedHead) {
    console.log(
      `${'pair'.padEnd(34)}${['new', 'bsdiff', 'xdelta3', 'patch-from', 'mallorn', 'ratio'].map((h) => h.padStart(11)).join('')}`,
    );
    printedHead = true;
  }
  const { bsdiff, xdelta3, patchFrom } = row.others;
  const cells = [row.newBytes, bsdiff, xdelta3, patchFrom, row.patchBytes].map((n) => String(n).padStart(11));
  console.log(`${row.pair.padEnd(34)}${cells.join('')}${row.ratio.toFixed(3).padStart(11)}`);
}
let printedHead = false;

function summarise(rows: readonly Row[]): void {
  const groups = [...new Set(rows.map(({ group }) => group))].map((group) => {
    const ratios = rows.filter((row) => row.group === group).map(({ ratio }) => ratio);
    return {
      group,
      pairs: ratios.length,
      geometricMean: geometricMean(ratios),
      median: median(ratios),
      worst: Math.max(...ratios),
    };
  });
  console.log('\n(mallorn - header - frame hashes) / best of bsdiff, xdelta3, zstd --patch-from, per pair');
  for (const { group, pairs, geometricMean: mean, median: middle, worst } of groups) {
    const figures = `geometric mean ${mean.toFixed(3)}  median ${middle.toFixed(3)}  worst ${worst.toFixed(3)}`;
    console.log(`${group.padEnd(48)}${String(pairs).padStart(3)} pairs  ${figures}`);
  }
  console.log(JSON.stringify({ level: Number(values.level), profile: values.profile, groups, rows }));
}

function geometricMean(ratios: readonly number[]): number {
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
}

function median(ratios: readonly number[]): number {
  const sorted = [...ratios].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const [folder] = positionals;
if (folder === undefined) {
  console.error('usage: npm run bench:size -- DIR [--level N] [--profile gateway|mcu] [--only TEXT]');
  process.exitCode = 2;
} else await main(folder);
