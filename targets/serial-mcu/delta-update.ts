/** Sends a patch that is there as a whole. */

import { InvalidPatch, IoError } from '../../core/errors.js';
import { DeltaStream, type StreamOptions } from './delta-stream.js';

export interface DeltaOptions extends Omit<StreamOptions, 'patchBytes'> {
  readonly patch: Uint8Array;
}

export interface DeltaResult {
  /** Bytes of the patch in the packets that were sent. */
  readonly payloadSent: number;
  /** Where the device went on after it knew the patch's header; 0 unless it had begun before. */
  readonly resumedAt: number;
}

export class DeltaUpdate {
  private readonly patch: Uint8Array;
  private readonly stream: DeltaStream;

  constructor({ patch, ...options }: DeltaOptions) {
    this.patch = patch;
    this.stream = new DeltaStream({ ...options, patchBytes: patch.length });
  }

  /** Bytes of the patch in the packets that were sent. */
  get payloadSent(): number {
    return this.stream.payloadSent;
  }

  /** Settles when the model is staged. @throws Refused; InvalidPatch when the patch has no end; IoError when the link fails. */
  async run(): Promise<DeltaResult> {
    const { patch, stream } = this;
    const step = await stream.push(patch, 0);
    if (step.kind !== 'done') {
      if (stream.preambleBytes === 0) throw new IoError('the patch is shorter than its header');
      throw new InvalidPatch('TRUNCATED', 'the device wants more than the patch has');
    }
    return { payloadSent: stream.payloadSent, resumedAt: stream.resumedAt ?? 0 };
  }
}
