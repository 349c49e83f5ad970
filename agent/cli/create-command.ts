/** `mallorn create`. */

import { type Command, Option } from 'commander';
import { type BatchFlags, createBatch } from './batch-command.js';
import { UsageError } from './failure.js';
import { addSigningFlags, type SigningFlags, signingOptions } from './key-options.js';
import { bytesText, countText, table } from './output.js';
import type { PatchStats } from './platform.js';
import { type AddCommand, integer, type Session, splitSource, withProgress } from './session.js';

/** What `create` and `publish` know about making a patch. */
export interface PatchFlags extends SigningFlags {
  readonly level?: number;
  readonly neural?: true;
  readonly family?: string;
  readonly deviceClass?: string;
  readonly counter?: number;
  readonly minCounter?: number;
}

export function addPatchFlags(command: Command): Command {
  command
    .option('--level <n>', 'compression level, 1 to 19 (default: 3)', integer)
    .option('--neural', 'use the neural codec')
    .option('--family <name>', 'model family the patch is for')
    .option('--device-class <name>', 'device class the patch is for')
    .option('--counter <n>', 'version counter; devices refuse what is below their floor', integer)
    .option('--min-counter <n>', 'floor that a device has after it committed the patch', integer);
  return addSigningFlags(command);
}

/** The library's options, with the key read. */
export async function patchOptions(session: Session, flags: PatchFlags) {
  const { level, neural, family, deviceClass, counter, minCounter } = flags;
  return {
    ...(level === undefined ? {} : { compressionLevel: level }),
    ...(neural === undefined ? {} : { neural }),
    ...(await signingOptions(session, flags)),
    ...(family === undefined ? {} : { family }),
    ...(deviceClass === undefined ? {} : { deviceClass }),
    ...(counter === undefined ? {} : { versionCounter: counter }),
    ...(minCounter === undefined ? {} : { minimumCounter: minCounter }),
  };
}

export interface InPlaceFlags {
  readonly inPlace?: true;
  readonly eraseBlock?: number;
}

export function addInPlaceFlags(command: Command): Command {
  return command
    .option('--in-place', 'for devices with a single slot: the patch can be written over its source')
    .option('--erase-block <bytes>', 'with --in-place: largest erase block of the devices', integer);
}

export function inPlaceOptions({ inPlace, eraseBlock }: InPlaceFlags) {
  if (eraseBlock !== undefined && !inPlace) throw new UsageError('--erase-block needs --in-place');
  return { inPlace: inPlace === true, ...(eraseBlock === undefined ? {} : { eraseBlockBytes: eraseBlock }) };
}

interface CreateFlags extends PatchFlags, InPlaceFlags, BatchFlags {
  readonly batch?: true;
  readonly source: boolean;
  readonly profile: 'gateway' | 'mcu';
}

export const addCreate: AddCommand = (program, open) => {
  const command = program
    .command('create')
    .description('make a patch that turns SOURCE into TARGET')
    .usage(
      'SOURCE TARGET -o PATCH [options]\n       mallorn create --no-source TARGET -o PATCH [options]\n       mallorn create --batch DIR_OLD DIR_NEW -o DIR [options]',
    )
    .argument('<files...>', 'SOURCE and TARGET, or folders of them')
    .requiredOption('-o, --output <patch>', 'patch to write, or folder of patches')
    .option('--no-source', 'make a stand-alone patch: the whole target, compressed')
    .option('--batch', 'a patch for each file of DIR_NEW, from the one of the same name in DIR_OLD')
    .option('--concurrency <n>', 'with --batch: patches under way at a time (default: one a processor)', integer)
    .option('--full', 'with --batch: stand-alone patches for files without an old version, which are skipped otherwise')
    .addOption(new Option('--profile <name>', 'sizes of buffers').choices(['gateway', 'mcu']).default('gateway'));
  addPatchFlags(addInPlaceFlags(command)).action(async (files: string[], flags: CreateFlags, self: Command) => {
    const session = open(self);
    checkBatchFlags(flags);
    if (flags.batch === true) {
      await createBatch(session, files, flags, await createOptions(session, flags));
      return;
    }
    const [source, target] = splitSource(files, flags.source, 'TARGET');
    const options = await createOptions(session, flags);
    const onWarning = (message: string): void => session.output.warning(message);
    const stats = await withProgress(session, (call) =>
      session.platform.library.createPatch(source, target, flags.output, { ...options, ...call, onWarning }),
    );
    session.output.result({ output: flags.output, ...stats }, () => statsLines(flags.output, stats));
  });
};

async function createOptions(session: Session, flags: CreateFlags) {
  return { ...inPlaceOptions(flags), ...(await patchOptions(session, flags)), profile: flags.profile };
}

function checkBatchFlags({ batch, source, concurrency, full }: CreateFlags): void {
  if (batch === true && !source) throw new UsageError('--batch and --no-source exclude each other; see --full');
  if (batch !== true && (concurrency !== undefined || full === true)) {
    throw new UsageError('--concurrency and --full need --batch');
  }
}

function statsLines(output: string, stats: PatchStats): string[] {
  const percent = ((100 * stats.patchSize) / Math.max(1, stats.targetSize)).toFixed(1);
  return table([
    ['patch', `${output}, ${bytesText(stats.patchSize)}`],
    ['target', `${bytesText(stats.targetSize)}; the patch is ${percent} % of it`],
    ['tensors', `${countText(stats.tensorsModified)} modified, ${countText(stats.tensorsUnchanged)} unchanged`],
  ]);
}
