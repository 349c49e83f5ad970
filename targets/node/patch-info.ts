/** `patchInfo` as it runs in a worker thread: what the header says. The body is not looked at, signatures are not checked. */

import { declaredBufferBytes } from '../../core/patch/header.js';
import type { Input, PatchInfo } from './api-types.js';
import { requirePatchSize } from './frame-chain.js';
import { readPreamble, withInput } from './inputs.js';

/** @throws InvalidPatch for an unreadable header, and for a file whose length is not what the header says */
export function patchInfo(input: Input): PatchInfo {
  return withInput(input, (patch) => {
    const preamble = readPreamble(patch);
    requirePatchSize(patch, preamble);
    const { header, signatures } = preamble;
    return {
      format: header.format,
      version: header.version,
      sourceHash: header.sourceHash,
      targetHash: header.targetHash,
      patchSize: patch.size,
      sourceSize: header.sourceSize,
      targetSize: header.targetSize,
      compression: header.codec === 'neural' ? 'neural' : `zstd(${header.level})`,
      neural: header.codec === 'neural',
      tensorsModified: header.tensorsModified,
      tensorsUnchanged: header.tensorsUnchanged,
      signed: signatures.length > 0,
      signers: signatures.map(({ keyId }) => keyId),
      createdAt: header.createdAt === null ? null : new Date(header.createdAt * 1000),
      profile: header.profile,
      standalone: header.standalone,
      family: header.family,
      deviceClass: header.deviceClass,
      versionCounter: header.versionCounter,
      minimumCounter: header.minimumCounter,
      frameBytes: header.frameBytes,
      segmentBytes: header.segmentBytes,
      inPlace: header.unitBytes > 0,
      unitBytes: header.unitBytes,
      bufferBytes: declaredBufferBytes(header),
    };
  });
}
