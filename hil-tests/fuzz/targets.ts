/** Every fuzz target there is. */

import { AnswersTarget } from './answers.js';
import { CodecTarget } from './codec.js';
import { ControlTarget } from './control.js';
import { ConfigTarget, ConsentTarget, DesiredTarget, JobsTarget, StateTarget, TrustTarget } from './documents.js';
import { KeyRecordTarget } from './keys.js';
import { MODEL_TARGETS } from './models.js';
import { HeaderTarget, PatchTarget } from './patches.js';
import { CborTarget, ConsoleTarget, SmpTarget } from './smp.js';
import { StreamTarget } from './streams.js';
import type { FuzzTarget } from './target.js';

export const TARGETS: readonly (() => FuzzTarget)[] = [
  () => new HeaderTarget(),
  () => new PatchTarget(),
  () => new CodecTarget(),
  ...MODEL_TARGETS,
  () => new TrustTarget(),
  () => new DesiredTarget(),
  () => new ConsentTarget(),
  () => new JobsTarget(),
  () => new ConfigTarget(),
  () => new ControlTarget(),
  () => new StateTarget(),
  () => new CborTarget(),
  () => new ConsoleTarget(),
  () => new SmpTarget(),
  () => new AnswersTarget(),
  () => new KeyRecordTarget(),
  () => new StreamTarget(),
];
