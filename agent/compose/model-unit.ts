/** A model of this agent's own: its slots on this machine's disk, written by an apply thread. */
import type { SlotDirectory } from '../../targets/node/slot-directory.js';
import { LocalApplication } from '../application.js';
import { ApplyThread } from '../apply-thread.js';
import { type ConditionOptions, ConditionWatcher } from '../conditions.js';
import { type ModelConfig, policyId } from '../config.js';
import { JsonFile } from '../json-file.js';
import type { Log } from '../log.js';
import type { State } from '../machine-types.js';
import { ModelNotice } from '../model-notice.js';
import type { Pace } from '../pace.js';
import { AgentRuntime, type RuntimeOptions } from '../runtime.js';
import type { UnitTopics } from '../topics.js';
import type { KeySource } from '../trust-store.js';
import type { Unit } from '../unit.js';
import { workerDataFor } from './apply-role.js';

export interface ModelUnitOptions
  extends Pick<RuntimeOptions, 'onState' | 'publish'>,
    Pick<ConditionOptions, 'now' | 'tickMs'> {
  readonly config: ModelConfig;
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
  /** Shared by all units: the link is one. */
  readonly pace: Pace | undefined;
  readonly trust: KeySource;
  readonly workerEntry: URL;
  readonly log: Log;
}

export function createModelUnit(options: ModelUnitOptions): Unit {
  const { config, slots, trust, workerEntry, log, publish, onState } = options;
  const notice = noticeOf(options);
  const conditions = new ConditionWatcher({
    rules: { ...config.windows, unmetered: config.unmetered },
    onChange: () => runtime.conditionsChanged(),
    ...(options.now === undefined ? {} : { now: options.now }),
    ...(options.tickMs === undefined ? {} : { tickMs: options.tickMs }),
    log,
  });
  const runtime: AgentRuntime = new AgentRuntime({
    settings: {
      model: config.model.name,
      device: config.device,
      consent: config.consent,
      get conditions() {
        return conditions.current;
      },
      fullImage: config.fullImage,
      maxPatchBytes: config.limits.maxPatchBytes,
      allowedHosts: config.allowedHosts ?? null,
      allowInsecureHttp: config.allowInsecureHttp,
      // Asked anew each time: a trust file that arrives, or a key that expires, changes what is refused.
      get policyId() {
        return policyId(config, trust.keys());
      },
      retry: config.retry,
      trialBoots: config.health?.trialBoots ?? 0,
    },
    limits: { ...config.retry, pace: options.pace, onBytes: options.onBytes },
    stateFile: new JsonFile(options.statePath),
    openSession: (onProgress) => new ApplyThread(workerEntry, workerDataFor(config), () => trust.keys(), onProgress),
    application: applicationOf(config, slots, notice, log),
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
    runtime,
    slotsPath: slots.folder,
    slots,
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

function applicationOf(
  { model, health, hooks }: ModelConfig,
  slots: SlotDirectory,
  notice: ModelNotice | null,
  log: Log,
): LocalApplication {
  const { timeoutMs: hookTimeoutMs, ...commands } = hooks;
  const { currentPath } = slots;
  const rules = { modelName: model.name, currentPath, health: health ?? null, hooks: commands, hookTimeoutMs };
  return new LocalApplication(rules, log, notice);
}
