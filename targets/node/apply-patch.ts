/** `applyPatch` as it runs in any thread: decodes into a temporary file that becomes the output once all of it is right. */

import { FlashTarget } from '../../core/apply/flash-target.js';
import type { TargetSink } from '../../core/apply/target-sink.js';
import { invariant } from '../../core/errors.js';
import type { PatchHeader } from '../../core/patch/header.js';
import type { Input } from './api-types.js';
import { TempOutput } from './atomic-file.js';
import { checkSteps } from './check-patch.js';
import { FileFlash } from './file-flash.js';
import { NodeHasher } from './hashing.js';
import { refuseOutputOverInput, withInputs } from './inputs.js';
import type { VerificationParts } from './patch-verification.js';
import { finish, type Steps } from './steps.js';
import type { Task } from './task.js';

export interface ApplyArguments {
  readonly source: Input | null;
  readonly patch: Input;
  readonly output: string;
  readonly publicKey: Uint8Array | null;
}

/** Writes of the size of the patch's own buffer, 256 bytes in the mcu profile, would each be a system call. */
const WRITE_BYTES = 65536;

/** Where blocking harms nobody. @throws every failure that verifyPatch would report; there is then no output */
export function applyPatch(args: ApplyArguments, task: Task): VerificationParts {
  return finish(applySteps(args, task));
}

/** The same a bounded amount of work at a time. */
export function* applySteps(args: ApplyArguments, task: Task): Steps<VerificationParts> {
  const { output, publicKey } = args;
  refuseOutputOverInput(output, [args.source, args.patch]);
  const place = new OutputPlace(output);
  try {
    const target = (header: PatchHeader) => place.open(header);
    const verdict = yield* withInputs(args.source, args.patch, (source, patch) =>
      checkSteps({ source, patch, publicKey, target, phase: 'applying' }, task),
    );
    if (verdict.error !== null) throw verdict.error;
    task.throwIfAborted();
    place.commit();
    return verdict;
  } finally {
    place.discard();
  }
}

/** The temporary output; none exists before the header, signature and source were found right. */
class OutputPlace {
  private readonly path: string;
  private temp: TempOutput | null = null;
  private flash: FileFlash | null = null;
  private targetSize = 0;

  constructor(path: string) {
    this.path = path;
  }

  open({ targetSize }: PatchHeader): TargetSink {
    invariant(this.temp === null, 'an output is opened once');
    this.temp = new TempOutput(this.path);
    this.flash = new FileFlash(this.temp.fd, this.temp.tempPath, { size: targetSize, erase: 'lazy' });
    this.targetSize = targetSize;
    return new FlashTarget({
      flash: this.flash,
      targetSize,
      hasher: new NodeHasher(),
      buffer: new Uint8Array(WRITE_BYTES),
    });
  }

  commit(): void {
    invariant(this.temp !== null && this.flash !== null, 'a target was decoded');
    // Whatever padding the device's write alignment asks for is none of the model's.
    this.flash.truncate(this.targetSize);
    this.temp.commit();
  }

  discard(): void {
    this.temp?.discard();
  }
}
