/**
 * `npx tsx scripts/train-priors.ts DIR`: learns the default priors of decode class 0 (SPEC.md, "Priors") from the version pairs in DIR,
 * laid out as for bench:size, and writes them to core/codec/default-priors.ts and SPEC.md. A bit counts by its share of its own pair's cost, and each
 * family of models the same, so that large models do not drown the small and often updated ones not the rest. What that is worth
 * to models it did not see says `npm run bench:priors`.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './esbuild-options.js';
import { defaultsFrom, type Measured, measurePairs } from './measure-priors.js';

const BYTES_A_LINE = 60;

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: npx tsx scripts/train-priors.ts DIR');
  process.exit(2);
}
write(measurePairs(folder));

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
