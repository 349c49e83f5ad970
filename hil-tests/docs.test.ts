/**
 * The packed package, installed in an empty project: its types compile under strict TypeScript without skipLibCheck, and every
 * example of docs/api.md runs. Unpacked by hand rather than by npm install, so that no registry is needed.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { trainDemoPair } from '../scripts/demo-model/index.js';
import { repoRoot } from './support/paths.js';

const run = promisify(execFile);
const project = mkdtempSync(join(tmpdir(), 'mallorn-docs-'));
after(() => rmSync(project, { recursive: true }));

const examples: { title: string; code: string }[] = [];
let section = '';
for (const [, title, code] of readFileSync(join(repoRoot, 'docs/api.md'), 'utf8').matchAll(
  /^## (.+)$|^```ts\n([\s\S]*?)^```$/gm,
)) {
  if (title !== undefined) section = title;
  if (code !== undefined) examples.push({ title: section, code });
}

before(async () => {
  const { v1, v2 } = trainDemoPair();
  writeFileSync(join(project, 'v1.tflite'), v1);
  writeFileSync(join(project, 'v2.tflite'), v2);
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', project], { cwd: repoRoot });
  const archive = readdirSync(project).find((name) => name.endsWith('.tgz'))!;
  mkdirSync(join(project, 'node_modules/mallorn'), { recursive: true });
  await run('tar', [
    'xzf',
    join(project, archive),
    '--strip-components=1',
    '-C',
    join(project, 'node_modules/mallorn'),
  ]);
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  examples.forEach(({ code }, i) => {
    writeFileSync(join(project, `example-${i}.ts`), code);
  });
});

test('the examples compile under strict TypeScript in an empty project', async () => {
  const options = [
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--skipLibCheck',
    'false',
    '--exactOptionalPropertyTypes',
  ];
  const types = ['--types', 'node', '--typeRoots', join(repoRoot, 'node_modules/@types')];
  const files = examples.map((_, i) => `example-${i}.ts`);
  const tsc = join(repoRoot, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [tsc, ...options, ...types, ...files], { cwd: project }).catch(
    (error: { stdout: string }) => {
      assert.fail(error.stdout);
    },
  );
});

test('the types alone need no other types', async () => {
  writeFileSync(
    join(project, 'bare.ts'),
    "import { createPatch } from 'mallorn';\nexport const create: typeof createPatch = createPatch;\n",
  );
  const tsc = join(repoRoot, 'node_modules/typescript/bin/tsc');
  const options = [
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--lib',
    'es2022',
    '--types',
    '',
    '--noEmit',
  ];
  await run(process.execPath, [tsc, ...options, 'bare.ts'], { cwd: project }).catch((error: { stdout: string }) => {
    assert.fail(error.stdout);
  });
});

examples.forEach(({ title }, i) => {
  test(`the example "${title}" of docs/api.md runs`, async () => {
    const { stderr } = await run(process.execPath, [`example-${i}.js`], { cwd: project });
    assert.equal(stderr, '');
  });
});

test('there is an example for everything the documented API does', () => {
  const code = examples.map((example) => example.code).join('');
  for (const name of [
    'createPatch',
    'createPatches',
    'applyPatch',
    'verifyPatch',
    'patchInfo',
    'generateKeypair',
    'signPatch',
    'fingerprint',
    'compareFingerprints',
    'toHex',
  ]) {
    assert.ok(code.includes(`${name}(`), name);
  }
});
