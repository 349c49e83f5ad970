/** The slots of one model at the start of the agent: found or made, and held until it ends. */
import { existsSync } from 'node:fs';
import { IoError } from '../../core/errors.js';
import { toHex } from '../../core/hex.js';
import { SlotDirectory } from '../../targets/node/slot-directory.js';
import type { Log } from '../log.js';
import { messageOf } from '../message-of.js';

export interface ModelSlotsOptions {
  readonly folder: string;
  readonly factoryModel: string | undefined;
  /** This is a start that a model on trial has to answer for. */
  readonly countsBoot: boolean;
  readonly keepPrevious: boolean;
  readonly log: Log;
}

/**
 * `factoryModel` is the path of a model for a device that has none: the folder is made and the model installed. Where there
 * is one already it stays. Undefined: a folder that is missing is an error, since an unmounted data partition looks like that.
 * @throws IoError when the slots cannot be owned or are damaged.
 */
export function openModelSlots(options: ModelSlotsOptions): SlotDirectory {
  const { folder, factoryModel, countsBoot, keepPrevious, log } = options;
  if (factoryModel === undefined && !existsSync(folder)) {
    throw new IoError(`expected the slots folder ${folder}, got nothing there: \`--install MODEL\` makes it`);
  }
  const slots = SlotDirectory.open(folder, { create: factoryModel !== undefined });
  try {
    if (factoryModel !== undefined) installFactoryModel(factoryModel, slots, log);
    if (countsBoot) countTrialBoot(slots, log);
    if (!keepPrevious) dropPrevious(slots, log);
    return slots;
  } catch (error) {
    slots.close();
    throw error;
  }
}

/** Reads the whole model on this thread: nothing else has begun yet. */
function installFactoryModel(path: string, slots: SlotDirectory, log: Log): void {
  const kept = slots.active();
  const { sha256, size } = kept ?? slots.install(path);
  const message = kept === null ? 'factory model installed' : 'factory model not needed: there is a model already';
  log('info', message, { path, active: { sha256: toHex(sha256), size } });
}

/** A start that cannot be counted is made nevertheless: to end the trial the same disk would have to be written. */
function countTrialBoot(slots: SlotDirectory, log: Log): void {
  try {
    slots.countTrialBoot();
  } catch (error) {
    log('error', 'cannot count this start of a model on trial', { error: messageOf(error) });
  }
}

/** What a kill right after a switch left, or a configuration that kept it. */
function dropPrevious(slots: SlotDirectory, log: Log): void {
  try {
    slots.dropPrevious();
  } catch (error) {
    log('error', 'cannot give up the previous model', { error: messageOf(error) });
  }
}
