/** Every fuzz target there is. */

import { CodecTarget } from './codec.js';
import type { FuzzTarget } from './target.js';

export const TARGETS: readonly (() => FuzzTarget)[] = [() => new CodecTarget()];
