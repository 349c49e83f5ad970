/**
 * Runs the tests: bundles every *.test.ts with esbuild, because tests import what only a bundler resolves (the zstd encoder's
 * WebAssembly), and runs node's own test runner on the bundles.
 *
 *   tsx scripts/test.ts [PART-OF-A-PATH...]     only the tests whose path contains one of these
 */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { nodeBundle, packageVersion, root } from './esbuild-options.js';

const FOLDERS = ['core', 'targets', 'agent', 'hil-tests', 'scripts'];
const WORKER = 'targets/node/worker.main.ts';
const APPLY_THREAD = 'hil-tests/support/apply-thread.main.ts';
const REPORTER = 'scripts/skip-counter.ts';
/** Tests start processes and threads of their own; more at a time only makes timings in them worse. */
const CONCURRENCY = 2;

/** Gives each of our modules the address of its source file for import.meta.url: what lies beside it is found from there. */
const keepSourceUrls: Plugin = {
  name: 'keep-source-urls',
  setup(builder) {
    builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      if (!text.includes('import.meta.url')) return null;
      // On the first line, so that line numbers in stack traces stay right.
      const declaration = `var mallornSourceUrl = ${JSON.stringify(pathToFileURL(path).href)};`;
      return { contents: `${declaration} ${text}`, loader: 'ts' };
    });
  },
};

const wanted = process.argv.slice(2);
const tests = FOLDERS.flatMap((folder) => findTests(folder)).filter(
  (path) => wanted.length === 0 || wanted.some((part) => path.includes(part.replace(/^\.\//, ''))),
);
if (tests.length === 0) {
  console.error(`no test's path contains ${wanted.join(' or ')}`);
  process.exit(2);
}
// One folder a run: two runs in one checkout must not bundle over each other.
const outdir = `.build/tests-${process.pid}`;
try {
  await bundleTests();
  process.exitCode = await runTests();
  reportSkipped();
} finally {
  rmSync(join(root, outdir), { recursive: true, force: true });
}

function findTests(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .filter((path) => path.endsWith('.test.ts'))
    .sort();
}

async function bundleTests(): Promise<void> {
  const extras = [REPORTER, WORKER, APPLY_THREAD].filter((path) => existsSync(join(root, path)));
  await build({
    ...nodeBundle,
    entryPoints: [...tests, ...extras],
    outdir,
    outbase: '.',
    splitting: true,
    packages: 'external',
    sourcemap: 'linked',
    plugins: [keepSourceUrls],
    define: {
      'import.meta.url': 'mallornSourceUrl',
      MALLORN_VERSION: JSON.stringify(packageVersion()),
      MALLORN_WORKER: JSON.stringify(pathToFileURL(bundled(WORKER)).href),
      MALLORN_APPLY_THREAD: JSON.stringify(pathToFileURL(bundled(APPLY_THREAD)).href),
    },
  });
}

function bundled(path: string): string {
  return join(root, outdir, path.replace(/\.ts$/, '.js'));
}

function runTests(): Promise<number> {
  const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout'];
  const counter = [
    `--test-reporter=${pathToFileURL(bundled(REPORTER)).href}`,
    `--test-reporter-destination=${join(root, outdir, 'skipped')}`,
  ];
  const options = ['--enable-source-maps', '--test', `--test-concurrency=${CONCURRENCY}`, ...reporters, ...counter];
  const child = spawn(process.execPath, [...options, ...tests.map(bundled)], { cwd: root, stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}

function reportSkipped(): void {
  const path = join(root, outdir, 'skipped');
  const count = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0;
  if (count > 0) console.log(`${count} real-model tests were skipped: ../shared/models is not there`);
}
