/**
 * Finds answers in raw framing in what a device sends. There is no mark and no checksum, and a device may print text between
 * answers; so an answer is what begins with the header of one that is waited for.
 */

import { SMP_HEADER_BYTES } from '../../core/smp/packet.js';

/** Longer ones are not waited for: a damaged length would swallow what follows. */
const MAX_ANSWER_BYTES = 1024;

export class RawAnswers {
  private bytes = new Uint8Array(0);
  private readonly isWaitedFor: (header: Uint8Array) => boolean;

  /** `isWaitedFor` looks at the last four bytes of a header: group, sequence, command. */
  constructor(isWaitedFor: (header: Uint8Array) => boolean) {
    this.isWaitedFor = isWaitedFor;
  }

  /** The answers that `chunk` completes. */
  take(chunk: Uint8Array): Uint8Array[] {
    const bytes = new Uint8Array(this.bytes.length + chunk.length);
    bytes.set(this.bytes);
    bytes.set(chunk, this.bytes.length);
    const answers: Uint8Array[] = [];
    let at = 0;
    for (; bytes.length - at >= SMP_HEADER_BYTES; at++) {
      const length = this.lengthAt(bytes, at);
      if (length === null) continue;
      if (bytes.length - at < length) break;
      answers.push(bytes.slice(at, at + length));
      at += length - 1;
    }
    this.bytes = bytes.slice(at);
    return answers;
  }

  /** Forgets a beginning: what follows is not its rest. */
  restart(): void {
    this.bytes = new Uint8Array(0);
  }

  private lengthAt(bytes: Uint8Array, at: number): number | null {
    const isAnswer = (bytes[at]! & 0xe5) === 1 && bytes[at + 1] === 0;
    const length = SMP_HEADER_BYTES + ((bytes[at + 2]! << 8) | bytes[at + 3]!);
    if (!isAnswer || length > MAX_ANSWER_BYTES) return null;
    return this.isWaitedFor(bytes.subarray(at, at + SMP_HEADER_BYTES)) ? length : null;
  }
}
