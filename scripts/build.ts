/**
 * Builds what is shipped and what the scripts run: dist/cli.js, the library with its worker and types, the microcontroller
 * bundle, dist/scripts. `--quiet` prints only errors. The metafiles go to .build/meta for scripts/layers.ts.
 */

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { deviceDefines, EVERYTHING } from './device-flags.js';
import { neutralBundle, nodeBundle, packageVersion, root } from './esbuild-options.js';

interface Product {
  readonly entry: string;
  readonly output: string;
  readonly options: BuildOptions;
  /** The worker's file, seen from the output; a bundle that names none runs its own workers or has none. */
  readonly worker?: string;
  readonly shebang?: boolean;
}

const deviceBundle: BuildOptions = { ...neutralBundle, define: deviceDefines(EVERYTHING) };
/** For simulated devices that trust their gateway. */
const unsignedBundle: BuildOptions = { ...neutralBundle, define: deviceDefines({ ...EVERYTHING, signed: false }) };
/** `qjs` brings these two. */
const linuxBundle: BuildOptions = { ...deviceBundle, external: ['std', 'os'] };

const PRODUCTS: readonly Product[] = [
  { entry: 'agent/cli.ts', output: 'dist/cli.js', options: nodeBundle, shebang: true },
  { entry: 'targets/node/index.ts', output: 'dist/index.js', options: nodeBundle, worker: './worker.js' },
  { entry: 'targets/node/worker.main.ts', output: 'dist/worker.js', options: nodeBundle },
  { entry: 'agent/simulator.main.ts', output: 'dist/simulator.js', options: nodeBundle },
  { entry: 'targets/quickjs/board.main.ts', output: 'dist/mallorn.qjs.js', options: deviceBundle },
  { entry: 'targets/quickjs/board.main.ts', output: 'dist/mallorn-unsigned.qjs.js', options: unsignedBundle },
  { entry: 'targets/quickjs/linux.main.ts', output: 'dist/mallorn-linux.qjs.mjs', options: linuxBundle },
  { entry: 'scripts/demo.ts', output: 'dist/scripts/demo.js', options: nodeBundle, worker: '../worker.js' },
  { entry: 'scripts/test-kill.ts', output: 'dist/scripts/test-kill.js', options: nodeBundle, worker: '../worker.js' },
  { entry: 'scripts/test-fleet.ts', output: 'dist/scripts/test-fleet.js', options: nodeBundle, worker: '../worker.js' },
  { entry: 'scripts/bench-idle.ts', output: 'dist/scripts/bench-idle.js', options: nodeBundle, worker: '../worker.js' },
  { entry: 'scripts/fuzz.ts', output: 'dist/scripts/fuzz.js', options: nodeBundle },
  { entry: 'scripts/bench-size.ts', output: 'dist/scripts/bench-size.js', options: nodeBundle, worker: '../worker.js' },
];

const QJSC = join(process.env['MALLORN_HIL_CACHE'] ?? join(root, '.cache/hil'), 'host/qjsc');

const quiet = process.argv.includes('--quiet');
const started = performance.now();
const products = PRODUCTS.filter(({ entry }) => existsSync(join(root, entry)));
const [typesBuilt, ...sizes] = await Promise.all([buildTypes(), ...products.map(bundle)]);
if (!typesBuilt) process.exitCode = 1;
if (existsSync(QJSC)) compileDevice();
if (!quiet) {
  products.forEach(({ output }, i) => {
    console.log(`${output.padEnd(28)} ${Math.ceil(sizes[i]! / 1024)} KiB`);
  });
  console.log(`built in ${Math.round(performance.now() - started)} ms`);
}

/** Returns the bundle's size in bytes. */
async function bundle({ entry, output, options, worker, shebang = false }: Product): Promise<number> {
  const result = await build({
    ...options,
    entryPoints: [entry],
    outfile: output,
    write: false,
    define: {
      ...options.define,
      MALLORN_VERSION: JSON.stringify(packageVersion()),
      ...(worker === undefined ? {} : { MALLORN_WORKER: JSON.stringify(worker) }),
    },
    ...(shebang ? { banner: { js: `#!/usr/bin/env node\n${options.banner?.['js'] ?? ''}` } } : {}),
  });
  const [file] = result.outputFiles;
  replaceFile(join(root, output), file!.contents, shebang ? 0o755 : 0o644);
  replaceFile(join(root, '.build/meta', `${basename(output)}.json`), JSON.stringify(result.metafile, null, 1), 0o644);
  return file!.contents.length;
}

/** The device program's bytecode as a C array, where scripts/hil-setup.sh has built QuickJS's compiler: bytecode is for that engine alone. */
function compileDevice(): void {
  const path = join(root, `dist/mallorn.qjs.c.${process.pid}.tmp`);
  execFileSync(QJSC, ['-s', '-c', '-N', 'mallorn_program', '-o', path, join(root, 'dist/mallorn.qjs.js')]);
  renameSync(path, join(root, 'dist/mallorn.qjs.c'));
}

/** Renamed into place, so that a program that starts during a build finds the old file or the new one, whole. */
function replaceFile(path: string, contents: Uint8Array | string, mode: number): void {
  mkdirSync(dirname(path), { recursive: true });
  if (existsSync(path) && (statSync(path).mode & 0o777) === mode && readFileSync(path).equals(Buffer.from(contents)))
    return;
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, contents);
  chmodSync(temporary, mode);
  renameSync(temporary, path);
}

/** Declarations of the library and what it is made of, into dist/types. False when the types do not check. */
function buildTypes(): Promise<boolean> {
  const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
  const child = spawn(process.execPath, [compiler, '-b', 'targets/node'], { cwd: root, stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) console.error(`${relative(root, compiler)} -b targets/node: exit code ${code}`);
      resolve(code === 0);
    });
  });
}
