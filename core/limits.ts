/**
 * Every limit that judges a length from outside, in one file, so that a reviewer can see what hostile patches, models and trust
 * files may ask for. What the network may ask of the agent: agent/limits.ts.
 * Values in bytes unless the name says otherwise.
 */

export type Profile = 'gateway' | 'mcu';

export interface ProfileSizes {
  /** Transport unit, hash of the next frame included. Fits the receive buffer of the class of device. */
  readonly frameBytes: number;
  /** Most target bytes in one coded segment, and the grid that segment ends lie on. */
  readonly segmentBytes: number;
  /** Each of the two I/O buffers (source in, target out). A multiple of every write alignment. */
  readonly ioBytes: number;
  /** Most source bytes a segment may put in front of its zstd window. */
  readonly dictionaryBytes: number;
}

export const PROFILES: Readonly<Record<Profile, ProfileSizes>> = {
  gateway: { frameBytes: 65536, segmentBytes: 1048576, ioBytes: 65536, dictionaryBytes: 4194304 },
  mcu: { frameBytes: 1024, segmentBytes: 16384, ioBytes: 256, dictionaryBytes: 0 },
};

/**
 * Of the gateway's neural patches without a source: they hold no dictionary, so that the segment may be as long, and a tokenizer's
 * second half is coded with the first in sight.
 */
export const STANDALONE_SEGMENT_BYTES = 4194304;

/** Header plus signatures; checked before anything else is looked at. */
export const MAX_PREAMBLE_BYTES = 2048;
export const MAX_PRIORS_BYTES = 1024;
export const MAX_SIGNATURES = 8;
export const MAX_NAME_BYTES = 32;

export const MIN_FRAME_BYTES = 64;
export const MAX_FRAME_BYTES = 1 << 20;
export const MIN_SEGMENT_BYTES = 1024;
export const MAX_SEGMENT_BYTES = 1 << 24;
/** Of an in-place patch. Erase blocks are 128 KiB at most on common parts. */
export const MAX_UNIT_BYTES = MAX_SEGMENT_BYTES;
/** Decompressed ops and data of one segment. Deltas cost at most one byte per target byte; the rest is for ops. */
export const MAX_PLAIN_BYTES = 2 * MAX_SEGMENT_BYTES;
export const MAX_DICTIONARY_BYTES = 1 << 24;
export const MAX_CONTEXT_BYTES = 1 << 24;
/** Models of a terabyte are far off; offsets stay exact in a double. */
export const MAX_FILE_BYTES = 2 ** 48;
/** What a gateway lets one patch claim for its decoder unless told otherwise. */
export const DEFAULT_MAX_BUFFER_BYTES = 64 << 20;

/** Of a trust file: every list full is 27 KB. */
export const MAX_TRUST_BYTES = 32 * 1024;
export const MAX_TRUST_ROOTS = 16;
export const MAX_TRUST_KEYS = 32;
export const MAX_REVOKED_KEYS = 128;
/** Roots of two versions sign a rotation. Each costs one verification at most. */
export const MAX_TRUST_SIGNATURES = 32;
export const MAX_TRUST_VERSION = 2 ** 32 - 1;

/**
 * Of model files, which the creator of a patch reads and anybody may have written: an order of magnitude above the largest
 * published ones. A reader that meets more refuses the file, which is then taken as plain bytes.
 */
export const MODEL_LIMITS = {
  tensors: 1 << 18,
  rank: 64,
  nameBytes: 1 << 14,
  scales: 1 << 22,
  /** Read in all, tensors' data aside. */
  metadataBytes: 64 << 20,
  tfliteSubgraphs: 1 << 14,
  tfliteBuffers: 1 << 20,
  /** ggml has 4; the specification lets it grow. */
  ggufRank: 8,
  /** The specification lets arrays nest; no writer does. */
  ggufArrayDepth: 8,
  /** A tokenizer of 250,000 tokens with merges takes about ten megabytes. */
  ggufMetadataBytes: 128 << 20,
  /** protobuf's own default. A graph inside a graph takes three levels: node, attribute, graph. */
  onnxDepth: 100,
  espdlNodes: 1 << 18,
  espdlAttributes: 1 << 10,
  /** The reference's own limit (MAX_HEADER_SIZE). */
  safeTensorsHeaderBytes: 100_000_000,
  jsonDepth: 32,
  jsonTextBytes: 1 << 14,
} as const;

/** How deep a CBOR value may nest; SMP's own go three levels down. */
export const MAX_CBOR_DEPTH = 8;
