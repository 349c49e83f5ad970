/** SECURITY.md names attacks: each is a test of that name, and each such test is in the table. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { repoRoot } from './support/paths.js';

const read = (path: string): string => readFileSync(join(repoRoot, path), 'utf8');

test("SECURITY.md's attacks by name are the tests of hil-tests/attacks.test.ts", () => {
  const section = read('SECURITY.md').split('## Attacks by name')[1]?.split('\n## ')[0] ?? '';
  const named = [...section.matchAll(/^\| ([^|-][^|]*?) +\|/gm)].map((match) => match[1]!).slice(1);
  assert.ok(named.length > 20, `${named.length} attacks`);
  const tests = read('hil-tests/attacks.test.ts');
  const titles = [...tests.matchAll(/^ +(?:test\(|describe\(|\[)'([^']+)',/gm)].map((match) => match[1]!);
  const isAttack = (title: string): boolean => !/without any attack|^attacks on|^that /.test(title);
  assert.deepEqual([...named].sort(), titles.filter(isAttack).sort());
});
