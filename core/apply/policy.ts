/** What a device accepts of a header it already believes: the semantic limits of SPEC.md's order of checks. */

import { CONTEXT_LAYOUTS } from '../codec/context-layout.js';
import { NEURAL_CONTEXT_BYTES } from '../codec/neural-runner.js';
import { checkPriors } from '../codec/priors.js';
import { InvalidPatch } from '../errors.js';
import { declaredBufferBytes, type PatchHeader } from '../patch/header.js';
import type { ByteSource } from '../ports.js';

export interface ApplyPolicy {
  /** Most bytes the decoder may hold. */
  readonly maxBufferBytes: number;
  /** Largest target, for instance the slot's size. */
  readonly maxTargetBytes: number;
  /** The device's model family and class; null accepts any. A patch that names none fits all. */
  readonly family: string | null;
  readonly deviceClass: string | null;
  /** Lowest version counter accepted; 0 also accepts patches that carry none. */
  readonly counterFloor: number;
}

/** What this build of the applier can decode. */
export interface Decoders {
  readonly zstd: boolean;
  /** Highest decode-cost class of the neural codec. */
  readonly neuralClass: number;
}

/** @throws InvalidPatch with a code that says which limit. */
export function checkPolicy(
  header: PatchHeader,
  policy: ApplyPolicy,
  source: ByteSource | null,
  decoders: Decoders,
  signed: boolean,
): void {
  const buffers = declaredBufferBytes(header);
  if (buffers > policy.maxBufferBytes)
    throw refused('BUFFERS_EXCEEDED', 'decoder buffers', `at most ${policy.maxBufferBytes} bytes`, buffers);
  if (header.targetSize > policy.maxTargetBytes)
    throw refused('FLASH_EXCEEDED', 'target', `at most ${policy.maxTargetBytes} bytes`, header.targetSize);
  if (header.codec === 'zstd' && header.packedBytes > 0 && !decoders.zstd)
    throw refused('UNSUPPORTED_CODEC', 'codec', 'stored segments only', header.codec);
  if (header.codec === 'neural') checkNeural(header, decoders);
  if (header.family !== '' && policy.family !== null && header.family !== policy.family) {
    throw refused('WRONG_FAMILY', 'model family', policy.family, header.family);
  }
  if (header.deviceClass !== '' && policy.deviceClass !== null && header.deviceClass !== policy.deviceClass) {
    throw refused('WRONG_DEVICE_CLASS', 'device class', policy.deviceClass, header.deviceClass);
  }
  if (header.standalone && signed && header.versionCounter === 0) {
    throw refused('COUNTER_MISSING', 'version counter of a signed stand-alone patch', 'one', 'none');
  }
  if (header.versionCounter < policy.counterFloor) {
    throw refused('COUNTER_TOO_LOW', 'version counter', `at least ${policy.counterFloor}`, header.versionCounter);
  }
  if (source === null && !header.standalone) throw refused('WRONG_BASE', 'base model', 'one', 'none');
}

function checkNeural(header: PatchHeader, { neuralClass, zstd }: Decoders): void {
  if (header.decodeClass > neuralClass)
    throw refused(
      'UNSUPPORTED_CODEC',
      'decode class of the neural codec',
      `at most ${neuralClass}`,
      header.decodeClass,
    );
  if (header.decodeClass > 0 && !zstd)
    throw refused(
      'UNSUPPORTED_CODEC',
      'decode class of the neural codec',
      '0 where there is no zstd',
      header.decodeClass,
    );
  const state = NEURAL_CONTEXT_BYTES[header.decodeClass]!;
  if (header.contextBytes !== state) throw refused('BAD_HEADER', 'contexts', `${state} bytes`, header.contextBytes);
  if (header.decodeClass === 0) checkPriors(header.priors, CONTEXT_LAYOUTS[0]!.contexts);
}

function refused(
  code: ConstructorParameters<typeof InvalidPatch>[0],
  what: string,
  expected: string,
  got: string | number,
): InvalidPatch {
  return new InvalidPatch(code, `${what}: expected ${expected}, got ${got}`);
}
