/**
 * The program on the device that uses the model, as far as the agent deals with it: hooks that tell it, and the health
 * check that asks it. Everything is configured; without configuration every answer is yes.
 */
import { type Failure, permanent, retryable } from './failure.js';
import { checkHealth, type HealthRules } from './health-check.js';
import type { Log } from './log.js';
import type { Installed } from './machine-types.js';
import type { ModelNotice } from './model-notice.js';
import { runCommand } from './run-command.js';

/** What a hook is told in its environment. */
export interface ModelInHand {
  readonly installed: Installed | null;
  readonly previous: Installed | null;
}

export interface Application {
  /** Before an update is downloaded. A failure puts it off. */
  prepare(model: ModelInHand, signal: AbortSignal): Promise<Failure | null>;
  /** After the switch to a model on trial: tells the application, then asks how it is. A failure ends the trial. */
  judge(model: ModelInHand, signal: AbortSignal): Promise<Failure | null>;
  /** What they fail with is logged and changes nothing: the slots are at rest. */
  committed(model: ModelInHand, signal: AbortSignal): Promise<void>;
  rolledBack(model: ModelInHand, signal: AbortSignal): Promise<void>;
}

export type HookName = 'preApply' | 'postActivate' | 'postCommit' | 'postRollback';

export interface ApplicationRules {
  readonly modelName: string;
  /** Path that always names the active model. */
  readonly currentPath: string;
  readonly health: HealthRules | null;
  readonly hooks: Readonly<Partial<Record<HookName, readonly string[] | undefined>>>;
  readonly hookTimeoutMs: number;
}

/** For a device whose application needs not be told nor asked. */
export const SILENT_APPLICATION: Application = {
  prepare: async () => null,
  judge: async () => null,
  committed: async () => {},
  rolledBack: async () => {},
};

export class LocalApplication implements Application {
  private readonly rules: ApplicationRules;
  private readonly log: Log;
  private readonly notice: Pick<ModelNotice, 'tell'> | null;

  constructor(rules: ApplicationRules, log: Log, notice: Pick<ModelNotice, 'tell'> | null = null) {
    this.rules = rules;
    this.log = log;
    this.notice = notice;
  }

  async prepare(model: ModelInHand, signal: AbortSignal): Promise<Failure | null> {
    const problem = await this.hook('preApply', model, signal);
    return problem === null ? null : retryable('pre-apply', `the preApply hook said no: ${problem}`);
  }

  async judge(model: ModelInHand, signal: AbortSignal): Promise<Failure | null> {
    // It cannot be well with a model that it does not know of.
    await this.notice?.tell(model.installed);
    const problem = await this.hook('postActivate', model, signal);
    if (problem !== null) return permanent('unhealthy', `the postActivate hook failed: ${problem}`);
    const { health, currentPath } = this.rules;
    if (health === null) return null;
    const ailment = await checkHealth({ rules: health, currentPath, env: this.env('health', model), signal });
    return ailment === null ? null : permanent('unhealthy', ailment);
  }

  async committed(model: ModelInHand, signal: AbortSignal): Promise<void> {
    await this.hook('postCommit', model, signal);
  }

  async rolledBack(model: ModelInHand, signal: AbortSignal): Promise<void> {
    await this.hook('postRollback', model, signal);
  }

  private async hook(name: HookName, model: ModelInHand, signal: AbortSignal): Promise<string | null> {
    const argv = this.rules.hooks[name];
    if (argv === undefined) return null;
    const timeoutMs = this.rules.hookTimeoutMs;
    const problem = await runCommand({ argv, env: this.env(name, model), timeoutMs, signal });
    if (problem !== null) this.log('warn', 'hook failed', { hook: name, error: problem });
    return problem;
  }

  private env(event: string, { installed, previous }: ModelInHand): Record<string, string> {
    return {
      MALLORN_EVENT: event,
      MALLORN_MODEL: this.rules.modelName,
      MALLORN_PATH: this.rules.currentPath,
      MALLORN_SHA256: installed?.sha256 ?? '',
      MALLORN_VERSION: installed?.version ?? '',
      MALLORN_PREVIOUS_SHA256: previous?.sha256 ?? '',
      MALLORN_PREVIOUS_VERSION: previous?.version ?? '',
    };
  }
}
