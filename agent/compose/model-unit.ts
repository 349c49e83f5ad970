/** A model of this agent's own: its slots on this machine's disk, written by an apply thread. */
import type { SlotDirectory } from '../../targets/node/slot-directory.js';
import { ApplyThread } from '../apply-thread.js';
import type { ApplyTurns } from '../apply-turns.js';
import { JsonFile } from '../json-file.js';
import type { State } from '../machine-types.js';
import { ModelNotice } from '../model-notice.js';
import { AgentRuntime, type RuntimeOptions } from '../runtime.js';
import type { UnitTopics } from '../topics.js';
import type { Unit } from '../unit.js';
import { workerDataFor } from './apply-role.js';
import { applicationOf, machineSettings, type UnitOptions, watchConditions } from './unit-options.js';

export interface ModelUnitOptions extends UnitOptions, Pick<RuntimeOptions, 'onState' | 'publish'> {
  /** Held by this process; the unit lets go of them. */
  readonly slots: SlotDirectory;
  readonly statePath: string;
  /** Remembers what the application was told. */
  readonly noticePath: string;
  /** Body bytes that came over the network. */
  readonly onBytes: (count: number) => void;
  readonly topics: UnitTopics;
  /** Wishes come as retained documents, not as jobs. */
  readonly hearsDesired: boolean;
  readonly workerEntry: URL;
  /** Shared by all of the agent's models. */
  readonly turns: ApplyTurns;
}

export function createModelUnit(options: ModelUnitOptions): Unit {
  const { config, slots, trust, workerEntry, log, publish, onState } = options;
  const notice = noticeOf(options);
  const conditions = watchConditions(options, () => runtime.conditionsChanged());
  const runtime: AgentRuntime = new AgentRuntime({
    settings: machineSettings(config, trust, conditions),
    limits: { ...config.retry, pace: options.pace, onBytes: options.onBytes },
    streams: options.streams,
    stateFile: new JsonFile(options.statePath),
    openSession: options.turns.taking(
      (onProgress) => new ApplyThread(workerEntry, workerDataFor(config), () => trust.keys(), onProgress),
    ),
    application: applicationOf(config, slots.currentPath, notice, log),
    onTrust: (chain) => trust.offer(chain),
    publish,
    onState: (state) => {
      conditions.attend(state);
      if (isSettled(state)) void notice?.tell(state.installed);
      onState?.(state);
    },
    log,
  });
  return {
    name: config.model.name,
    label: config.model.name,
    runtime,
    slotsPath: slots.folder,
    slots,
    child: null,
    topics: options.topics,
    onDesired: options.hearsDesired ? (payload) => runtime.desired(payload) : null,
    stop: async () => {
      conditions.stop();
      await runtime.stop();
      await notice?.tell(null);
      slots.close();
    },
  };
}

/** What it says is installed is what the slots say. */
function isSettled({ kind }: State): boolean {
  return kind !== 'starting' && kind !== 'choosing' && kind !== 'committing' && kind !== 'rollingBack';
}

function noticeOf({ config, slots, noticePath, log }: ModelUnitOptions): ModelNotice | null {
  const { model, notify } = config;
  if (notify === undefined) return null;
  const { currentPath } = slots;
  return new ModelNotice({ rules: notify, modelName: model.name, currentPath, memory: new JsonFile(noticePath), log });
}
