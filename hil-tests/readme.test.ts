/** The README shows what the demo prints: a stranger who compares the two must find them alike, to the byte. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { repoRoot } from './support/paths.js';

const run = promisify(execFile);

test('the README shows what `npm run demo` prints, to the byte', { timeout: 60_000 }, async () => {
  const readme = readFileSync(join(repoRoot, 'README.md'), 'utf8');
  const shown = /This is what it prints:\n\n```\n([\s\S]*?)```\n/.exec(readme)?.[1];
  assert.ok(shown !== undefined, 'the README has the demo’s output');
  const { stdout } = await run(process.execPath, [join(repoRoot, 'dist/scripts/demo.js')]);
  assert.equal(stdout, shown);
});
