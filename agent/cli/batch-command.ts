/** `mallorn create --batch`: a patch for every file of a folder, from the file of the same name in another. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { IoError } from '../../core/errors.js';
import { makeFolder } from '../make-folder.js';
import { messageOf } from '../message-of.js';
import { exitCodeOf, failureOf, UsageError } from './failure.js';
import { bytesText, table } from './output.js';
import type { PatchOptions, PatchPair, PatchResult } from './platform.js';
import { showProgress } from './progress.js';
import type { Session } from './session.js';

export interface BatchFlags {
  readonly output: string;
  readonly concurrency?: number;
  readonly full?: true;
}

interface Found {
  /** Relative to its folder, with `/`. */
  readonly name: string;
  readonly pair: PatchPair | null;
}

/** What became of one file. */
type Entry = { readonly name: string } & (
  | (PatchResult & { readonly output: string })
  | { readonly kind: 'skipped'; readonly reason: string }
);

const NO_OLD_VERSION = 'no old version of it; --full makes a stand-alone patch';

/** Sets the exit code of the first failure, if there is one. */
export async function createBatch(
  session: Session,
  folders: readonly string[],
  flags: BatchFlags,
  options: PatchOptions,
): Promise<void> {
  if (folders.length !== 2) throw new UsageError(`expected DIR_OLD and DIR_NEW, got ${folders.length} folders`);
  const files = await pairUp(folders[0]!, folders[1]!, flags, session);
  const pairs = files.flatMap(({ pair }) => (pair === null ? [] : [pair]));
  for (const folder of new Set(pairs.map(({ output }) => dirname(output)))) await makeFolder(folder);
  const results = await run(session, pairs, { ...options, ...concurrencyOf(flags) });
  const outcome = new Map(pairs.map((pair, i) => [pair, results[i]!]));
  const entries = files.map(({ name, pair }) => entryOf(name, pair, pair === null ? null : outcome.get(pair)!));
  const failed = results.find((result) => result.kind === 'failed');
  if (failed !== undefined) session.setExitCode(exitCodeOf(failed.error));
  const counts = { created: 0, failed: 0, skipped: 0 };
  for (const { kind } of entries) counts[kind]++;
  session.output.result({ ...counts, files: entries.map(flatten) }, () => [
    ...(entries.length === 0 ? [] : table(entries.map((entry) => [entry.kind, lineOf(entry)]))),
    `${counts.created} created, ${counts.failed} failed, ${counts.skipped} skipped`,
  ]);
}

function concurrencyOf({ concurrency }: BatchFlags): { concurrency?: number } {
  return concurrency === undefined ? {} : { concurrency };
}

async function pairUp(old: string, next: string, flags: BatchFlags, session: Session): Promise<Found[]> {
  const [oldNames, names] = [new Set(await namesIn(old)), await namesIn(next)];
  const inside = await insideOf(next, flags.output);
  return names
    .filter((name) => inside === null || !name.startsWith(inside))
    .map((name) => {
      if (!oldNames.has(name) && flags.full !== true) return { name, pair: null };
      const onWarning = (message: string): void => session.output.warning(`${name}: ${message}`);
      const source = oldNames.has(name) ? join(old, name) : null;
      const output = join(flags.output, `${name}.mlrn`);
      return { name, pair: { source, target: join(next, name), output, options: { onWarning } } };
    });
}

/** All files below `folder`, sorted; links to files count, links to folders are not followed. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    const paths = await readdir(folder, { recursive: true });
    const files = await Promise.all(paths.map((path) => isFile(join(folder, path))));
    const names = paths.filter((_, i) => files[i]).map((path) => path.split(sep).join('/'));
    return names.sort();
  } catch (cause) {
    throw new IoError(`cannot list ${folder}: ${messageOf(cause)}`, { cause });
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}

/** Patches of an earlier run are no models: the output folder as seen from `next`, ending in `/`, or null outside of it. */
async function insideOf(next: string, output: string): Promise<string | null> {
  await makeFolder(output);
  const path = relative(await realpath(next), await realpath(output));
  if (path === '') throw new UsageError('expected an output folder other than DIR_NEW, whose files are the models');
  return path.startsWith('..') ? null : `${path.split(sep).join('/')}/`;
}

async function run(
  { output, signal, platform }: Session,
  pairs: readonly PatchPair[],
  options: PatchOptions & { concurrency?: number },
): Promise<readonly PatchResult[]> {
  const view = showProgress(!output.json);
  try {
    return await platform.library.createPatches(pairs, {
      ...options,
      signal,
      onProgress: ({ done, total, settled, pairs: all }) =>
        view.update({ phase: `${settled} of ${all} patches`, done, total }),
    });
  } finally {
    view.stop();
  }
}

function entryOf(name: string, pair: PatchPair | null, result: PatchResult | null): Entry {
  if (pair === null || result === null) return { name, kind: 'skipped', reason: NO_OLD_VERSION };
  return { name, output: pair.output, ...result };
}

/** As `create --json` has it: the figures beside the name. */
function flatten(entry: Entry): object {
  if (entry.kind !== 'created') return entry;
  const { stats, ...rest } = entry;
  return { ...rest, ...stats };
}

function lineOf(entry: Entry): string {
  if (entry.kind === 'skipped') return `${entry.name}: ${entry.reason}`;
  if (entry.kind === 'failed') {
    const { name, message } = failureOf(entry.error);
    return `${entry.name}: ${name}: ${message}`;
  }
  const { patchSize, targetSize } = entry.stats;
  const percent = ((100 * patchSize) / Math.max(1, targetSize)).toFixed(1);
  return `${entry.name}: ${bytesText(patchSize)}, ${percent} % of the target`;
}
