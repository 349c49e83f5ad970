/**
 * What became of the updates of this device: one entry an update, the last ones kept on disk, the one under way among them so
 * that a restart does not lose its beginning. Watches the machine's states and decides nothing.
 */
import * as z from 'zod';
import type { Failure } from '../failure.js';
import type { StateFile } from '../json-file.js';
import type { Log } from '../log.js';
import type { State } from '../machine-types.js';
import { messageOf } from '../message-of.js';

export const OUTCOMES = [
  /** The new model is active, and good where that is asked. */
  'installed',
  /** It was active and the model before it is back. */
  'rolled-back',
  'refused',
  /** The retry budget is spent. */
  'failed',
  /** Another wish came before it was over, or none. */
  'superseded',
] as const;
export type Outcome = (typeof OUTCOMES)[number];

const model = z.object({ sha256: z.string(), version: z.string().nullable() });

const openUpdate = z.object({
  model: z.string(),
  /** Milliseconds since 1970 by the device's clock. */
  startedAtMs: z.number(),
  /** Null where there was no model. */
  from: model.nullable(),
  to: model,
  /** Body bytes that came over the network. A process that is killed loses count of those of its last minute. */
  bytesDownloaded: z.number(),
  /** The new model has been on trial. */
  wasActive: z.boolean(),
});
export type OpenUpdate = z.infer<typeof openUpdate>;

const entrySchema = openUpdate.omit({ wasActive: true }).extend({
  endedAtMs: z.number(),
  outcome: z.enum(OUTCOMES),
  error: z.object({ reason: z.string(), message: z.string() }).nullable(),
});
export type HistoryEntry = z.infer<typeof entrySchema>;

const fileSchema = z.object({
  format: z.literal(1),
  entries: z.array(entrySchema),
  open: z.array(openUpdate),
});

export const MAX_HISTORY_ENTRIES = 200;
/** Of a download's count: often enough for people, seldom enough for flash. */
const COUNT_SAVED_EVERY_MS = 60_000;

export interface HistoryOptions {
  readonly file: StateFile;
  readonly log: Log;
  readonly nowMs?: () => number;
  readonly maxEntries?: number;
  readonly onEntry?: (entry: HistoryEntry) => void;
}

export class UpdateHistory {
  private readonly options: HistoryOptions;
  private readonly kept: HistoryEntry[];
  private readonly open: Map<string, OpenUpdate>;
  private saving: Promise<void> = Promise.resolve();
  private savedAtMs = 0;

  private constructor(options: HistoryOptions, kept: HistoryEntry[], open: Map<string, OpenUpdate>) {
    this.options = options;
    this.kept = kept;
    this.open = open;
  }

  /** What does not fit is forgotten: the history is for people. @throws IoError when the medium fails */
  static async load(options: HistoryOptions): Promise<UpdateHistory> {
    const saved = fileSchema.safeParse(await options.file.load());
    const { entries, open } = saved.success ? saved.data : { entries: [], open: [] };
    return new UpdateHistory(options, entries, new Map(open.map((update) => [update.model, update])));
  }

  /** Oldest first. */
  get entries(): readonly HistoryEntry[] {
    return this.kept;
  }

  /** After each transition of this model's machine. */
  observe(name: string, state: State): void {
    const open = this.open.get(name);
    const ending = open === undefined ? null : endingOf(open, state);
    if (open !== undefined && ending !== null) this.end(open, ending.outcome, ending.failure);
    else if (open !== undefined) this.noteTrial(open, state);
    if (!this.open.has(name)) this.begin(name, state);
  }

  /** `count` more bytes of this model's update came in. */
  downloaded(name: string, count: number): void {
    const open = this.open.get(name);
    if (open === undefined) return;
    open.bytesDownloaded += count;
    if (Math.abs(this.nowMs() - this.savedAtMs) >= COUNT_SAVED_EVERY_MS) this.save();
  }

  /** Resolves when all is on disk, what was counted since the last transition included. */
  async settled(): Promise<void> {
    if (this.open.size > 0) this.save();
    await this.saving;
  }

  private begin(name: string, state: State): void {
    if (state.wish.kind !== 'want' || (state.kind !== 'applying' && state.kind !== 'refused')) return;
    const { installed, wish } = state;
    const to = { sha256: wish.desired.targetSha256, version: wish.desired.version };
    const started: OpenUpdate = {
      model: name,
      startedAtMs: this.nowMs(),
      from: installed,
      to,
      bytesDownloaded: 0,
      wasActive: false,
    };
    if (state.kind === 'applying') {
      this.open.set(name, started);
      this.save();
    }
    // Judged by the document alone, as a wrong base is. A restart finds the same refusal again.
    if (state.kind === 'refused' && !this.knows(name, state)) {
      const { failure } = state.refusal;
      this.end(started, failure.reason === 'rollback-asked' ? 'rolled-back' : 'refused', failure);
    }
  }

  private knows(name: string, state: State & { kind: 'refused' }): boolean {
    const last = this.kept.filter((entry) => entry.model === name).at(-1);
    return (
      state.wish.kind === 'want' &&
      last?.to.sha256 === state.wish.desired.targetSha256 &&
      last.error?.message === state.refusal.failure.message
    );
  }

  private noteTrial(open: OpenUpdate, { kind }: State): void {
    if (open.wasActive || (kind !== 'testing' && kind !== 'rollingBack')) return;
    open.wasActive = true;
    this.save();
  }

  private end({ wasActive: _, ...update }: OpenUpdate, outcome: Outcome, failure: Failure | null): void {
    const error = failure === null ? null : { reason: failure.reason, message: failure.message };
    const entry: HistoryEntry = { ...update, endedAtMs: this.nowMs(), outcome, error };
    this.open.delete(update.model);
    this.kept.push(entry);
    const { maxEntries = MAX_HISTORY_ENTRIES } = this.options;
    this.kept.splice(0, Math.max(0, this.kept.length - maxEntries));
    this.save();
    this.options.onEntry?.(entry);
  }

  private save(): void {
    this.savedAtMs = this.nowMs();
    const value = structuredClone({ format: 1, entries: this.kept, open: [...this.open.values()] });
    this.saving = this.saving
      .then(() => this.options.file.save(value))
      .catch((error: unknown) => {
        const message = messageOf(error);
        this.options.log('error', 'cannot save the history', { error: message });
      });
  }

  private nowMs(): number {
    return (this.options.nowMs ?? Date.now)();
  }
}

/** Null while the update goes on. */
function endingOf(
  { to, wasActive }: OpenUpdate,
  state: State,
): { readonly outcome: Outcome; readonly failure: Failure | null } | null {
  const { wish, installed } = state;
  const isWished = wish.kind === 'want' && wish.desired.targetSha256 === to.sha256;
  const was = wasActive ? 'rolled-back' : null;
  /** Of an update that another wish has taken the place of. */
  const turned = {
    outcome: installed?.sha256 === to.sha256 ? 'installed' : (was ?? 'superseded'),
    failure: null,
  } as const;
  switch (state.kind) {
    case 'idle':
      return turned;
    case 'refused':
      return isWished ? { outcome: was ?? 'refused', failure: state.refusal.failure } : turned;
    case 'failed':
      return { outcome: 'failed', failure: state.failure };
    case 'held':
    case 'staged':
    case 'applying':
      return isWished ? null : turned;
    default:
      return null;
  }
}
