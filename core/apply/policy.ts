/** What a device accepts of a header it already believes: the semantic limits of SPEC.md's order of checks. */

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

/** @throws InvalidPatch with a code that says which limit. */
export function checkPolicy(
  header: PatchHeader,
  policy: ApplyPolicy,
  source: ByteSource | null,
  hasZstd: boolean,
  signed: boolean,
): void {
  const buffers = declaredBufferBytes(header);
  if (buffers > policy.maxBufferBytes)
    throw refused('BUFFERS_EXCEEDED', 'decoder buffers', `at most ${policy.maxBufferBytes} bytes`, buffers);
  if (header.targetSize > policy.maxTargetBytes)
    throw refused('FLASH_EXCEEDED', 'target', `at most ${policy.maxTargetBytes} bytes`, header.targetSize);
  if (header.codec === 'neural') throw refused('UNSUPPORTED_CODEC', 'codec', 'zstd', header.codec);
  if (header.codec === 'zstd' && header.packedBytes > 0 && !hasZstd)
    throw refused('UNSUPPORTED_CODEC', 'codec', 'stored segments only', header.codec);
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

function refused(
  code: ConstructorParameters<typeof InvalidPatch>[0],
  what: string,
  expected: string,
  got: string | number,
): InvalidPatch {
  return new InvalidPatch(code, `${what}: expected ${expected}, got ${got}`);
}
