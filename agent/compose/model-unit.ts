/** A model of this agent's own: its slots on this machine's disk, written by an apply thread. */
import type { SlotDirectory } from '../../targets/node/slot-directory.js';
import { ApplyThread } from '../apply-thread.js';
import type { ApplyTurns } from '../apply-turns.js';
import { JsonFile } from '../json-file.js';
import { AgentRuntime, type RuntimeOptions } from '../runtime.js';
import type { UnitTopics } from '../topics.js';
import type { Unit } from '../unit.js';
import { workerDataFor } from './apply-role.js';
import { applicationOf, machineSettings, type UnitOptions, watchConditions } from './unit-options.js';

export interface ModelUnitOptions extends UnitOptions, Pick<RuntimeOptions, 'onState' | 'publish'> {
  /** Held by this process; the unit lets go of them. */
  readonly slots: SlotDirectory;
  readonly statePath: string;
  readonly topics: UnitTopics;
  /** Wishes come as retained documents, not as jobs. */
  readonly hearsDesired: boolean;
  readonly workerEntry: URL;
  /** Shared by all of the agent's models. */
  readonly turns: ApplyTurns;
}

export function createModelUnit(options: ModelUnitOptions): Unit {
  const { config, slots, trust, workerEntry, log, publish, onState } = options;
  const conditions = watchConditions(options, () => runtime.conditionsChanged());
  const runtime: AgentRuntime = new AgentRuntime({
    settings: machineSettings(config, trust, conditions),
    limits: { ...config.retry, pace: options.pace },
    stateFile: new JsonFile(options.statePath),
    openSession: options.turns.taking(
      (onProgress) => new ApplyThread(workerEntry, workerDataFor(config), () => trust.keys(), onProgress),
    ),
    application: applicationOf(config, slots.currentPath, log),
    onTrust: (chain) => trust.offer(chain),
    publish,
    onState: (state) => {
      conditions.attend(state);
      onState?.(state);
    },
    log,
  });
  return {
    name: config.model.name,
    runtime,
    slotsPath: slots.folder,
    child: null,
    topics: options.topics,
    onDesired: options.hearsDesired ? (payload) => runtime.desired(payload) : null,
    stop: async () => {
      conditions.stop();
      await runtime.stop();
      slots.close();
    },
  };
}
