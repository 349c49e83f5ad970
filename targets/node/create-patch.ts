/** `createPatch` as it runs in a worker thread. */

import { DigestTarget } from '../../core/apply/digest-target.js';
import { encodeBody } from '../../core/diff/encode-body.js';
import { matchBases, matchScaleVectors } from '../../core/diff/match-casts.js';
import { matchParts } from '../../core/diff/match-parts.js';
import { writePatch } from '../../core/diff/write-patch.js';
import { readLayout } from '../../core/formats/detect.js';
import { PROFILES } from '../../core/limits.js';
import type { ByteSource, Compressor } from '../../core/ports.js';
import type { Input, PatchStats } from './api-types.js';
import { type TempOutput, withTempOutput } from './atomic-file.js';
import type { CheckedCreateOptions } from './check-options.js';
import { writeFully } from './file-io.js';
import { FileSource } from './file-source.js';
import { NodeHasher } from './hashing.js';
import { hashInput, refuseOutputOverInput, withInput, withOptionalInput } from './inputs.js';
import { createApplier, feedWholePatch } from './run-applier.js';
import { signerFor } from './signer-for.js';
import { OverflowSpool } from './spool.js';
import type { Task } from './task.js';
import { createCompressor } from './zstd-compressor.js';

export interface CreateArguments extends CheckedCreateOptions {
  readonly source: Input | null;
  readonly target: Input;
  readonly output: string;
}

export interface CreateResult {
  readonly stats: PatchStats;
  readonly warnings: readonly string[];
}

export async function createPatch(args: CreateArguments, task: Task): Promise<CreateResult> {
  refuseOutputOverInput(args.output, [args.source, args.target]);
  const compressor = task.watchCompressor(createCompressor());
  return withOptionalInput(args.source, (rawSource) =>
    withInput(args.target, (rawTarget) => {
      const source = rawSource === null ? null : task.watchSource(rawSource);
      const target = task.watchSource(rawTarget);
      return withTempOutput(args.output, (output) => encode({ ...args, source, target, compressor }, output, task));
    }),
  );
}

type Opened = Omit<CreateArguments, 'source' | 'target'> & {
  readonly source: ByteSource | null;
  readonly target: ByteSource;
  readonly compressor: Compressor;
};

function encode(args: Opened, output: TempOutput, task: Task): CreateResult {
  const { source, target, profile } = args;
  const targetHash = hashInput(target, task);
  const sourceHash = source === null ? new Uint8Array(32) : hashInput(source, task);
  const layout = readLayout(target);
  const sourceLayout = source === null ? null : readLayout(source);
  const models =
    source === null || sourceLayout === null
      ? null
      : ([
          { layout: sourceLayout, bytes: source },
          { layout, bytes: target },
        ] as const);
  const bases = models === null ? [] : matchBases(...models);
  const spool = new OverflowSpool(args.output);
  try {
    const body = encodeBody({
      ...args,
      targetLayout: layout,
      bases,
      parts: models === null ? [] : matchParts(...models, bases),
      scaleBases: models === null ? [] : matchScaleVectors(...models),
      spool,
      inPlace: args.unitBytes === 0 ? null : { unitBytes: args.unitBytes, hasher: new NodeHasher() },
      onProgress: (done) => task.checkpoint('encoding', done, target.size),
    });
    let written = 0;
    const patchSize = writePatch({
      header: {
        ...args,
        ...body,
        format: layout.format,
        codec: args.neural === true ? 'neural' : 'zstd',
        standalone: source === null,
        frameBytes: PROFILES[profile].frameBytes,
        sourceSize: source?.size ?? 0,
        targetSize: target.size,
        sourceHash,
        targetHash,
      },
      spool,
      signer: args.signWith === null ? null : signerFor(args.signWith),
      hasher: new NodeHasher(),
      write: (bytes) => {
        writeFully(output.fd, output.tempPath, written, bytes);
        written += bytes.length;
      },
    });
    checkOwnPatch(output, source, task);
    task.throwIfAborted();
    return {
      stats: {
        sourceSize: source?.size ?? 0,
        targetSize: target.size,
        patchSize,
        compressionRatio: target.size / patchSize,
        tensorsModified: body.tensorsModified,
        tensorsUnchanged: body.tensorsUnchanged,
      },
      warnings: [sourceLayout?.warning, layout.warning].filter((warning) => typeof warning === 'string'),
    };
  } finally {
    spool.close();
  }
}

/** No patch leaves that does not apply: decodes it and compares the hash. */
function checkOwnPatch(output: TempOutput, source: ByteSource | null, task: Task): void {
  const patch = new FileSource(output.tempPath);
  try {
    const target = () => new DigestTarget(new NodeHasher());
    const applier = createApplier({ source, target, trustedKeys: [], sourceVerified: true });
    feedWholePatch(applier, patch, 'verifying', task);
  } finally {
    patch.close();
  }
}
