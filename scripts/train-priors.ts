/**
 * `npx tsx scripts/train-priors.ts DIR`: learns the default priors of decode class 0 (SPEC.md, "Priors") from the version pairs in DIR,
 * laid out as for bench:size, and writes them to core/codec/default-priors.ts and SPEC.md. A bit counts by its share of its own pair's cost, and each
 * family of models the same, so that large models do not drown the small and often updated ones not the rest.
 *
 * `--evaluate`: writes nothing, but says what the defaults are worth to each pair when its family had no part in making them: exact
 * costs of the bits that the pair's contexts code, with and without.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CONTEXT_LAYOUTS } from '../core/codec/context-layout.js';
import { PRIOR_LEVELS, PRIOR_UNKNOWN } from '../core/codec/priors.js';
import { measureContexts } from '../core/diff/encode-body.js';
import { matchBases, matchScaleVectors } from '../core/diff/match-casts.js';
import { listOf } from '../core/diff/train-priors.js';
import { readLayout } from '../core/formats/detect.js';
import { MemorySource } from '../core/memory-source.js';
import { createCompressor } from '../targets/node/zstd-compressor.js';
import { root } from './esbuild-options.js';

/** Pairs whose names begin so share data; a synthetic pair belongs with the model it was made from too, so all of them stay out together. */
const FAMILIES = [
  'mww',
  'dig100',
  'mlperf-kws',
  'mlperf-resnet',
  'mlperf-vww',
  'mlperf-ad',
  'silero',
  'espdl',
  'mp-',
  'synth',
  'tflm',
  'llama-vocab',
];
const PRIORS = PRIOR_UNKNOWN + 1;
/** Defaults stay unsure: what a model is like that nobody has seen, they can only guess. */
const SUREST = 2 * PRIOR_LEVELS.length;
/** What a default must gain, as a share of a family's patches, to be worth its byte in every device's bundle. */
const LEAST_SHARE = 1e-4;
const BYTES_A_LINE = 60;

interface Measured {
  readonly name: string;
  readonly family: string;
  readonly group: string;
  readonly costs: Int32Array;
  /** Of all bits under contexts, with no defaults. */
  readonly total: number;
}

interface Pair {
  readonly name: string;
  readonly format: string;
  readonly what_changed: string;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { evaluate: { type: 'boolean' } } });
const [folder] = positionals;
if (folder === undefined) {
  console.error('usage: npx tsx scripts/train-priors.ts DIR [--evaluate]');
  process.exit(2);
}
const pairs = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Pair[];
const measured = pairs.map((pair) => measure(folder, pair));
if (values.evaluate === true) evaluate(measured);
else write(measured);

function measure(from: string, { name, format, what_changed: group }: Pair): Measured {
  const [source, target] = ['old', 'new'].map(
    (age) => new MemorySource(readFileSync(join(from, name, `${age}.${format}`))),
  );
  const layouts = { source: readLayout(source!), target: readLayout(target!) };
  const models = [
    { layout: layouts.source, bytes: source! },
    { layout: layouts.target, bytes: target! },
  ] as const;
  const bases = matchBases(...models);
  const trainer = measureContexts(
    {
      source: source!,
      target: target!,
      targetLayout: layouts.target,
      bases,
      scaleBases: matchScaleVectors(...models),
      profile: 'mcu',
      level: 3,
      neural: true,
      compressor: createCompressor(),
      spool: { size: 0, append: () => {}, read: () => {} },
    },
    1,
  );
  const family = FAMILIES.find((prefix) => name.startsWith(prefix)) ?? name;
  return { name, family, group, costs: trainer.costs, total: trainer.total };
}

/** The prior that suits each context best over the pairs, and its gain as a share. */
function best(from: readonly Measured[]): { priors: Uint8Array; gains: Float64Array } {
  const sums = new Float64Array(from[0]!.costs.length);
  for (const { costs, total, family } of from) {
    const weight = 1 / (total * from.filter((other) => other.family === family).length);
    for (let i = 0; i < sums.length; i++) sums[i]! += weight * costs[i]!;
  }
  const { contexts } = CONTEXT_LAYOUTS[0]!;
  const priors = new Uint8Array(contexts).fill(PRIOR_UNKNOWN);
  const gains = new Float64Array(contexts);
  for (let context = 0; context < contexts; context++) {
    const at = context * PRIORS;
    for (let prior = 0; prior < SUREST; prior++)
      if (sums[at + prior]! < sums[at + priors[context]!]!) priors[context] = prior;
    gains[context] = sums[at + PRIOR_UNKNOWN]! - sums[at + priors[context]!]!;
  }
  return { priors, gains };
}

function defaultsFrom(from: readonly Measured[]): number[] {
  const { priors, gains } = best(from);
  return listOf(priors, gains, LEAST_SHARE).bytes;
}

function evaluate(all: readonly Measured[]): void {
  for (const pair of all) {
    const list = defaultsFrom(all.filter(({ family }) => family !== pair.family));
    let gain = 0;
    let context = 0;
    for (const byte of list) {
      if (byte > PRIOR_UNKNOWN) context += byte - PRIOR_UNKNOWN;
      else {
        const at = PRIORS * context++;
        gain += pair.costs[at + PRIOR_UNKNOWN]! - pair.costs[at + byte]!;
      }
    }
    const bytes = Math.round(gain / 2048);
    console.log(`${pair.name.padEnd(34)}${pair.group.slice(0, 16).padEnd(18)}${list.length} bytes gain ${bytes} bytes`);
  }
}

function write(all: readonly Measured[]): void {
  const hex = Buffer.from(defaultsFrom(all)).toString('hex');
  const lines = hex.match(new RegExp(`.{1,${2 * BYTES_A_LINE}}`, 'g')) ?? [];
  writeFileSync(
    join(root, 'core/codec/default-priors.ts'),
    `/**
 * Priors of decode class 0 that hold where a patch's header brings none (SPEC.md, "Priors"). Made by scripts/train-priors.ts from
 * the version pairs of ../shared/models; not to be edited by hand.
 */

const TEXT =
${lines.map((line) => `  '${line}'`).join(' +\n')};

/** A list as in a header, behind its first byte. */
export const DEFAULT_PRIORS = Uint8Array.from({ length: TEXT.length / 2 }, (_, i) =>
  Number.parseInt(TEXT.slice(2 * i, 2 * i + 2), 16),
);
`,
  );
  const spec = join(root, 'core/patch/SPEC.md');
  const block = `\`\`\`priors\n${lines.join('\n')}\n\`\`\``;
  writeFileSync(spec, readFileSync(spec, 'utf8').replace(/^```priors\n[\s\S]*?```/m, block));
  console.log(`${hex.length / 2} bytes`);
}
