/** Runs bench:size as edited production sources make it: what patches are without an idea, or with other priors. */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { Edit } from '../hil-tests/support/edit.js';
import { editing } from './edit-sources.js';
import { nodeBundle, packageVersion } from './esbuild-options.js';

/**
 * The object in bench:size's last line. Throws when an edit reaches neither bundle.
 * @param folder where the bundles go; left there
 */
export async function editedBench(folder: string, edits: readonly Edit[], args: readonly string[]): Promise<unknown> {
  const applied = new Set<Edit>();
  await bundle('targets/node/worker.main.ts', join(folder, 'worker.js'), edits, applied);
  await bundle('scripts/bench-size.ts', join(folder, 'bench-size.js'), edits, applied);
  if (applied.size < edits.length) throw new Error('an edited file is not in the bundle');
  const child = spawn(process.execPath, [join(folder, 'bench-size.js'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`exit code ${code}\n${output}`);
  return JSON.parse(output.trim().split('\n').at(-1)!);
}

async function bundle(entry: string, outfile: string, edits: readonly Edit[], applied: Set<Edit>): Promise<void> {
  await build({
    ...nodeBundle,
    entryPoints: [entry],
    outfile,
    define: { MALLORN_VERSION: JSON.stringify(packageVersion()), MALLORN_WORKER: '"./worker.js"' },
    plugins: [editing(edits, applied)],
  });
}
