/** Patches as a user makes them for a microcontroller: by the built command line, signed. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repoRoot } from '../support/paths.js';

/** @param source null for a stand-alone image */
export function shippedPatch(source: string | null, target: string, privateKey: Uint8Array): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-shipped-'));
  const [key, patch] = [join(folder, 'key'), join(folder, 'patch')];
  writeFileSync(key, privateKey);
  const models = source === null ? ['--no-source', target] : [source, target];
  const flags = ['-o', patch, '--key', key, '--neural', '--profile', 'mcu', '--counter', '5'];
  try {
    execFileSync(process.execPath, [join(repoRoot, 'dist/cli.js'), 'create', ...models, ...flags], { stdio: 'pipe' });
    return new Uint8Array(readFileSync(patch));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
