/** Where things lie, whichever folder a test's bundle was put in. */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const repoRoot = findRoot(dirname(fileURLToPath(import.meta.url)));

/** The real version pairs, beside the checkout; null on a machine that has none. */
export const modelsFolder = existingOrNull(join(repoRoot, '../shared/models'));

/** Reason of a test that skips itself because `modelsFolder` is null; scripts/test.ts counts these. */
export const NO_MODELS = '../shared/models is not there';

function findRoot(folder: string): string {
  const manifest = join(folder, 'package.json');
  if (existsSync(manifest) && (JSON.parse(readFileSync(manifest, 'utf8')) as { name?: string }).name === 'mallorn') {
    return folder;
  }
  const parent = dirname(folder);
  if (parent === folder) throw new Error('no package.json of mallorn above this file');
  return findRoot(parent);
}

function existingOrNull(path: string): string | null {
  return existsSync(path) ? path : null;
}
