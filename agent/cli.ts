/**
 * The `mallorn` command: the one place where the command line meets the platform. Bundled into a single file, which its own
 * worker threads run too, so that it works wherever that file is copied. Parts are loaded when needed: neither does `info`
 * pay for the MQTT client nor a worker for the argument parser.
 */

import { isMainThread } from 'node:worker_threads';

/** Set by the bundler (scripts/build.ts). */
declare const MALLORN_VERSION: string;

if (isMainThread) await runMain();
else await runWorker();

async function runMain(): Promise<void> {
  const { runCli } = await import('./cli/run-cli.js');
  const { runWorkersFrom, signing, ...library } = await import('../targets/node/cli-library.js');
  const self = new URL(import.meta.url);
  runWorkersFrom(self);
  await runCli({
    library,
    signing,
    loadAgent: () => import('./agent.main.js'),
    loadSerial: () => import('../targets/serial-mcu/index.js'),
    loadSimulator: () => import(new URL('./simulator.js', self).href),
    workerEntry: self,
    version: MALLORN_VERSION,
  });
}

async function runWorker(): Promise<void> {
  const { serveCalls } = await import('../targets/node/serve-calls.js');
  if (serveCalls()) return;
  const { serveApplyWorker } = await import('./agent.main.js');
  serveApplyWorker();
}
