/**
 * Watches what the machine cannot know: whether a window is open by the clock, and whether the connection is unmetered by a command.
 * The machine is told to look at `current`; it knows itself what
 * it waited for.
 */
import type { Conditions } from './holds.js';
import type { Log } from './log.js';
import type { State } from './machine-types.js';
import { runCommand } from './run-command.js';
import { isWithin, localTime, type TimeWindow } from './time-windows.js';

export interface ConditionRules {
  readonly timeZone: 'local' | 'utc';
  /** Undefined: always open. */
  readonly download?: readonly TimeWindow[] | undefined;
  readonly apply?: readonly TimeWindow[] | undefined;
  /** Undefined: nothing depends on it. */
  readonly unmetered?:
    | { readonly command: readonly string[]; readonly intervalMs: number; readonly timeoutMs: number }
    | undefined;
}

export interface ConditionOptions {
  readonly rules: ConditionRules;
  /** At every look, whether it brought something new or not. */
  readonly onChange: () => void;
  readonly log: Log;
  readonly now?: () => Date;
  /** How often the clock is looked at: often, because clocks are set and devices sleep. Default 15 s. */
  readonly tickMs?: number;
}

const TICK_MS = 15_000;
/** States of an update that may yet download: what the connection is like matters to them. */
const ON_THE_WAY: readonly State['kind'][] = ['choosing', 'held', 'applying', 'waiting'];

export class ConditionWatcher {
  private readonly options: ConditionOptions;
  private readonly ending = new AbortController();
  private tick: NodeJS.Timeout | null = null;
  private poll: NodeJS.Timeout | null = null;
  private polling = false;
  private unmetered = false;

  /** `onChange` is first called after this returned. */
  constructor(options: ConditionOptions) {
    this.options = options;
    const { download, apply } = options.rules;
    if (download === undefined && apply === undefined) return;
    this.tick = setInterval(() => options.onChange(), options.tickMs ?? TICK_MS);
    this.tick.unref();
  }

  get current(): Conditions {
    const { rules, now = () => new Date() } = this.options;
    const time = localTime(now(), rules.timeZone);
    return {
      downloadWindow: isWithin(rules.download, time),
      applyWindow: isWithin(rules.apply, time),
      unmetered: rules.unmetered === undefined || this.unmetered,
    };
  }

  /** The machine's state after each step: the command runs only while an update depends on it. */
  attend(state: State): void {
    if (this.options.rules.unmetered === undefined) return;
    if (state.kind === 'held' && state.hold.for === 'unmetered') this.startPolling();
    else if (!ON_THE_WAY.includes(state.kind)) this.stopPolling();
  }

  stop(): void {
    this.ending.abort(new Error('the agent ends'));
    if (this.tick !== null) clearInterval(this.tick);
    this.stopPolling();
  }

  private startPolling(): void {
    if (this.polling) return;
    this.polling = true;
    void this.ask();
  }

  private async ask(): Promise<void> {
    const { rules, log, onChange } = this.options;
    if (rules.unmetered === undefined) return;
    const { command: argv, timeoutMs, intervalMs } = rules.unmetered;
    const problem = await runCommand({ argv, env: {}, timeoutMs, signal: this.ending.signal });
    if (!this.polling || this.ending.signal.aborted) return;
    if (this.unmetered !== (problem === null)) log('info', 'connection', { unmetered: problem === null, problem });
    this.unmetered = problem === null;
    this.poll = setTimeout(() => void this.ask(), intervalMs);
    this.poll.unref();
    onChange();
  }

  private stopPolling(): void {
    if (this.poll !== null) clearTimeout(this.poll);
    this.poll = null;
    this.polling = false;
    this.unmetered = false;
  }
}
