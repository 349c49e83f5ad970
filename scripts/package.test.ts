/** The package as npm would ship it, unpacked into an empty project: it imports, and type-checks under the strictest options. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { transformSync } from 'esbuild';
import { repoRoot } from '../hil-tests/support/paths.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-package-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const PROGRAM = `
import { applyPatch, compareFingerprints, createPatch, fingerprint, Fingerprint, fromHex, generateKeypair, InvalidPatch, IoError,
  MallornError, patchInfo, PatchVerification, SignatureError, signPatch, SourceHashMismatch, TargetHashMismatch, toHex, verifyPatch,
  type CreateOptions, type PatchInfo, type PatchStats } from 'mallorn';

const source = new Uint8Array(5000).map((_, i) => (i * i) & 255);
const target = source.map((byte, i) => (i > 4000 ? byte ^ 1 : byte));
const keys = await generateKeypair();
const options: CreateOptions = { privateKey: keys.privateKey, compressionLevel: 19, signal: new AbortController().signal };
const stats: PatchStats = await createPatch(source, target, 'made.mlrn', options);
const info: PatchInfo = await patchInfo('made.mlrn');
await signPatch('made.mlrn', keys.privateKey, 'signed.mlrn');
const verification: PatchVerification = await verifyPatch(source, 'signed.mlrn', { publicKey: keys.publicKey });
await applyPatch(source, 'signed.mlrn', 'out.bin');
const print: Fingerprint = await fingerprint('out.bin');
const errors: (new (...args: never[]) => MallornError)[] = [InvalidPatch, IoError, SignatureError, SourceHashMismatch, TargetHashMismatch];
const same: boolean = await compareFingerprints(print, target);
if (!verification.isValid() || !same || toHex(fromHex('00ff')) !== '00ff' || errors.length !== 5) throw new Error('broken');
if (info.patchSize !== stats.patchSize || info.signed !== true) throw new Error('broken');
`;

before(() => {
  const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
    cwd: repoRoot,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    shell: process.platform === 'win32',
  });
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  mkdirSync(join(folder, 'node_modules/mallorn'), { recursive: true });
  execFileSync('tar', [
    '-xzf',
    join(folder, filename),
    '-C',
    join(folder, 'node_modules/mallorn'),
    '--strip-components=1',
  ]);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
  writeFileSync(join(folder, 'main.ts'), PROGRAM);
});

describe('the package in an empty project', () => {
  for (const [name, options] of [
    ['NodeNext', { module: 'NodeNext', moduleResolution: 'NodeNext' }],
    ['a bundler', { module: 'ESNext', moduleResolution: 'Bundler' }],
  ] as const) {
    test(`type-checks strictly with ${name}, without @types/node and with skipLibCheck off`, () => {
      const compilerOptions = {
        ...options,
        target: 'ES2022',
        lib: ['ES2022', 'DOM'],
        types: [],
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        skipLibCheck: false,
        noEmit: true,
      };
      writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }));
      const compiler = join(repoRoot, 'node_modules/typescript/bin/tsc');
      // What the compiler says goes to stdout, and into the error when it fails.
      execFileSync(process.execPath, [compiler, '-p', folder], { encoding: 'utf8' });
    });
  }

  test('runs, with nothing else installed', () => {
    const program = transformSync(PROGRAM, { loader: 'ts', target: 'node20' }).code;
    writeFileSync(join(folder, 'main.js'), program);
    execFileSync(process.execPath, ['main.js'], { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
  });

  test('brings the command', () => {
    const { bin } = JSON.parse(readFileSync(join(folder, 'node_modules/mallorn/package.json'), 'utf8')) as {
      bin: { mallorn: string };
    };
    const command = join(folder, 'node_modules/mallorn', bin.mallorn);
    assert.match(execFileSync(process.execPath, [command, '--version'], { encoding: 'utf8' }), /^\d/);
  });
});
