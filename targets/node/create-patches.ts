/** `createPatches`: many patches, some at a time, each of which may fail for itself. */

import { availableParallelism } from 'node:os';
import type { BatchOptions, PatchPair, PatchResult } from './api-types.js';
import { BatchMeter } from './batch-meter.js';
import { checkConcurrency, checkCreateOptions, MAX_CONCURRENCY, requireInput, requirePath } from './check-options.js';
import { refuseClashingPaths } from './clashing-paths.js';
import { type CheckedPair, createInWorker } from './create-in-worker.js';

interface Job extends CheckedPair {
  readonly onWarning: (message: string) => void;
}

/**
 * Makes a patch for each pair, the same bytes as createPatch would one after another. A pair that fails is no matter to the
 * others.
 * @returns one result per pair, in their order
 * @throws RangeError, before any patch is begun, for a bad option, and for an output that is also the output or an input of
 * another pair; signal.reason once all work has stopped
 */
export async function createPatches(
  pairs: readonly PatchPair[],
  options: BatchOptions = {},
): Promise<readonly PatchResult[]> {
  const jobs = pairs.map((pair, i) => checkPair(pair, i, options));
  const concurrency = checkConcurrency(options.concurrency ?? Math.min(availableParallelism(), MAX_CONCURRENCY));
  refuseClashingPaths(jobs);
  if (options.signal?.aborted === true) throw options.signal.reason;
  return new Batch(jobs, options).run(concurrency);
}

function checkPair(pair: PatchPair, index: number, shared: BatchOptions): Job {
  const { source, target, output } = pair;
  if (source !== null) requireInput(`pairs[${index}].source`, source);
  requireInput(`pairs[${index}].target`, target);
  requirePath(`pairs[${index}].output`, output);
  const options = { ...shared, ...pair.options };
  const onWarning = (message: string): void => options.onWarning?.(message);
  return { source, target, output, checked: checkCreateOptions(options, source === null), onWarning };
}

class Batch {
  private readonly jobs: readonly Job[];
  private readonly options: BatchOptions;
  private readonly meter: BatchMeter;
  private readonly results: (PatchResult | undefined)[];
  /** Ends all calls under way: the caller's abort, or a listener of the caller's that threw. */
  private readonly stop = new AbortController();
  private next = 0;
  private listenerThrew = false;

  constructor(jobs: readonly Job[], options: BatchOptions) {
    this.jobs = jobs;
    this.options = options;
    this.results = jobs.map(() => undefined);
    this.meter = new BatchMeter(jobs, (progress) => this.tell(() => options.onProgress?.(progress)));
  }

  async run(concurrency: number): Promise<readonly PatchResult[]> {
    const { signal } = this.options;
    const abort = (): void => this.stop.abort(signal?.reason);
    signal?.addEventListener('abort', abort);
    try {
      await Promise.all(Array.from({ length: Math.min(concurrency, this.jobs.length) }, () => this.work()));
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    const settled = this.results.filter((result) => result !== undefined);
    // An abort that came too late to stop anything changes nothing.
    if (settled.length < this.jobs.length || this.listenerThrew) throw this.stop.signal.reason;
    return settled;
  }

  /** Takes jobs until there are none left. Never rejects, so that nobody leaves while others still work. */
  private async work(): Promise<void> {
    while (this.next < this.jobs.length && !this.stop.signal.aborted) {
      const index = this.next++;
      const result = await this.create(index);
      if (result === null) return;
      this.results[index] = result;
      this.meter.settle(index);
    }
  }

  /** null when it was stopped. */
  private async create(index: number): Promise<PatchResult | null> {
    const job = this.jobs[index]!;
    const { signal } = this.stop;
    try {
      const stats = await createInWorker(job, {
        signal,
        onProgress: (progress) => this.meter.advance(index, progress),
        onWarning: (message) => this.tell(() => job.onWarning(message)),
      });
      return { kind: 'created', stats };
    } catch (error) {
      if (signal.aborted && error === signal.reason) return null;
      return { kind: 'failed', error: error instanceof Error ? error : new Error(String(error)) };
    }
  }

  /** Calls the caller back; a listener that throws ends the batch with that error. */
  private tell(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.listenerThrew = true;
      this.stop.abort(error);
    }
  }
}
