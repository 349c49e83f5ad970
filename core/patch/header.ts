/**
 * The patch header (SPEC.md, "Header"): what a device must know and believe before it reads the body. Parsing happens in
 * two steps so that nothing semantic is looked at before the signature: `measurePreamble` reads only what finds the
 * signatures, `parseHeader` the rest.
 */

import { equalBytes, isZero, readU16, readU32, readU64, writeU16, writeU32, writeU64 } from '../bytes.js';
import { InvalidPatch, invariant } from '../errors.js';
import type { ModelFormat } from '../formats/model.js';
import {
  MAX_CONTEXT_BYTES,
  MAX_DICTIONARY_BYTES,
  MAX_FILE_BYTES,
  MAX_FRAME_BYTES,
  MAX_NAME_BYTES,
  MAX_PLAIN_BYTES,
  MAX_PREAMBLE_BYTES,
  MAX_PRIORS_BYTES,
  MAX_SEGMENT_BYTES,
  MAX_SIGNATURES,
  MAX_UNIT_BYTES,
  MIN_FRAME_BYTES,
  MIN_SEGMENT_BYTES,
  PROFILES,
  type Profile,
} from '../limits.js';
import type { Hasher } from '../ports.js';
import { decodeUtf8, encodeUtf8 } from '../utf8.js';
import { HASH_BYTES } from './frames.js';
import { SIGNATURE_BLOCK_BYTES } from './signatures.js';

export const FORMAT_VERSION = 0;
export const FIXED_HEADER_BYTES = 172;
const MAGIC = [0x4d, 0x4c, 0x52, 0x4e]; // "MLRN"
const FORMATS: readonly ModelFormat[] = ['Binary', 'TFLite', 'GGUF', 'ONNX', 'SafeTensors', 'ESPDL'];
const PROFILE_IDS: readonly Profile[] = ['gateway', 'mcu'];
const CODECS = [null, 'zstd', 'neural'] as const;
const FLAG_STANDALONE = 1;
const FLAG_CREATED_AT = 2;
const KNOWN_FLAGS = FLAG_STANDALONE | FLAG_CREATED_AT;

export type Codec = 'zstd' | 'neural';

export interface PatchHeader {
  readonly version: number;
  readonly format: ModelFormat;
  readonly codec: Codec;
  /** zstd compression level 1-19 the encoder was asked for; informative. */
  readonly level: number;
  readonly profile: Profile;
  /** Decode-cost class: 1 where the neural codec uses its byte model, which microcontrollers lack; else 0. */
  readonly decodeClass: number;
  /** No base: every byte comes from the patch, sourceHash is zeros and sourceSize 0. */
  readonly standalone: boolean;
  readonly frameBytes: number;
  readonly segmentBytes: number;
  /** Of an in-place patch (core/patch/unit.ts): what is decoded, checked and written over as one. 0 where it is not one. */
  readonly unitBytes: number;
  /** Largest compressed payload of a segment. */
  readonly packedBytes: number;
  /** Largest decompressed payload of a segment. */
  readonly plainBytes: number;
  /** Largest dictionary of a segment. */
  readonly dictionaryBytes: number;
  /** Context memory of the neural codec. */
  readonly contextBytes: number;
  readonly sourceSize: number;
  readonly targetSize: number;
  /** Segments, without the hashes between frames. */
  readonly bodyBytes: number;
  readonly sourceHash: Uint8Array;
  readonly targetHash: Uint8Array;
  readonly tensorsModified: number;
  readonly tensorsUnchanged: number;
  /** 0 means the patch carries none. */
  readonly versionCounter: number;
  readonly minimumCounter: number;
  /** Seconds since 1970, or null. */
  readonly createdAt: number | null;
  /** First HASH_BYTES of SHA-256 of frame 0. */
  readonly firstFrameHash: Uint8Array;
  /** '' where the patch is for any. */
  readonly family: string;
  readonly deviceClass: string;
  readonly priors: Uint8Array;
}

/** Bytes the decoder holds for this patch: frame, packed, plain, dictionary, contexts, two I/O buffers. */
export function declaredBufferBytes(header: PatchHeader): number {
  const { frameBytes, packedBytes, plainBytes, dictionaryBytes, contextBytes } = header;
  return frameBytes + packedBytes + plainBytes + dictionaryBytes + contextBytes + 2 * PROFILES[header.profile].ioBytes;
}

/** The header with its digest, without signatures. */
export function encodeHeader(header: PatchHeader, hasher: Hasher): Uint8Array {
  const family = encodeUtf8(header.family);
  const deviceClass = encodeUtf8(header.deviceClass);
  invariant(family.length <= MAX_NAME_BYTES && deviceClass.length <= MAX_NAME_BYTES, 'names were checked');
  invariant(header.priors.length <= MAX_PRIORS_BYTES, 'priors fit');
  const size = FIXED_HEADER_BYTES + family.length + deviceClass.length + header.priors.length + HASH_BYTES;
  const out = new Uint8Array(size);
  out.set(MAGIC, 0);
  out[4] = header.version;
  out[5] = FORMATS.indexOf(header.format);
  out[6] = CODECS.indexOf(header.codec);
  out[7] = header.level;
  out[8] = PROFILE_IDS.indexOf(header.profile);
  out[9] = header.decodeClass;
  writeU16(out, 10, (header.standalone ? FLAG_STANDALONE : 0) | (header.createdAt === null ? 0 : FLAG_CREATED_AT));
  writeU16(out, 12, size);
  writeU16(out, 14, header.priors.length);
  writeU32(out, 16, header.frameBytes);
  writeU32(out, 20, header.segmentBytes);
  writeU32(out, 24, header.packedBytes);
  writeU32(out, 28, header.plainBytes);
  writeU32(out, 32, header.dictionaryBytes);
  writeU32(out, 36, header.contextBytes);
  writeU64(out, 40, header.sourceSize);
  writeU64(out, 48, header.targetSize);
  writeU64(out, 56, header.bodyBytes);
  out.set(header.sourceHash, 64);
  out.set(header.targetHash, 96);
  writeU32(out, 128, header.tensorsModified);
  writeU32(out, 132, header.tensorsUnchanged);
  writeU32(out, 136, header.versionCounter);
  writeU32(out, 140, header.minimumCounter);
  writeU64(out, 144, header.createdAt ?? 0);
  out.set(header.firstFrameHash, 152);
  out[168] = family.length;
  out[169] = deviceClass.length;
  out[170] = header.unitBytes === 0 ? 0 : 31 - Math.clz32(header.unitBytes);
  out.set(family, FIXED_HEADER_BYTES);
  out.set(deviceClass, FIXED_HEADER_BYTES + family.length);
  out.set(header.priors, FIXED_HEADER_BYTES + family.length + deviceClass.length);
  out.set(headerDigest(out, hasher).subarray(0, HASH_BYTES), size - HASH_BYTES);
  return out;
}

/** SHA-256 over the header without its own digest. */
function headerDigest(header: Uint8Array, hasher: Hasher): Uint8Array {
  const digest = new Uint8Array(32);
  hasher.reset();
  hasher.update(header.subarray(0, header.length - HASH_BYTES));
  hasher.digest(digest);
  return digest;
}

export interface PreambleSize {
  readonly headerBytes: number;
  readonly signatureCount: number;
  /** Header, signature count and signatures: where the body starts. */
  readonly preambleBytes: number;
}

/**
 * How long header and signatures are, from the first bytes of a patch; null while more bytes are needed.
 * @throws InvalidPatch on a wrong magic, an unknown version, or a length over the hard cap.
 */
export function measurePreamble(bytes: Uint8Array, available: number): PreambleSize | null {
  for (let i = 0; i < Math.min(MAGIC.length, available); i++) {
    if (bytes[i] !== MAGIC[i]) {
      throw new InvalidPatch(
        'BAD_MAGIC',
        `not a Mallorn patch: byte ${i} is 0x${bytes[i]!.toString(16)}, expected 0x${MAGIC[i]!.toString(16)}`,
      );
    }
  }
  if (available < 14) return null;
  if (bytes[4] !== FORMAT_VERSION) {
    throw new InvalidPatch('BAD_VERSION', `patch format version: expected ${FORMAT_VERSION}, got ${bytes[4]}`);
  }
  const headerBytes = readU16(bytes, 12);
  const least = FIXED_HEADER_BYTES + HASH_BYTES;
  if (headerBytes < least || headerBytes >= MAX_PREAMBLE_BYTES) {
    throw new InvalidPatch(
      'BAD_HEADER',
      `header length: expected ${least} to ${MAX_PREAMBLE_BYTES - 1} bytes, got ${headerBytes}`,
    );
  }
  if (available <= headerBytes) return null;
  const signatureCount = bytes[headerBytes]!;
  const preambleBytes = headerBytes + 1 + signatureCount * SIGNATURE_BLOCK_BYTES;
  if (signatureCount > MAX_SIGNATURES || preambleBytes > MAX_PREAMBLE_BYTES) {
    throw new InvalidPatch(
      'BAD_HEADER',
      `signatures: expected at most ${MAX_SIGNATURES} within ${MAX_PREAMBLE_BYTES} bytes, got ${signatureCount}`,
    );
  }
  return { headerBytes, signatureCount, preambleBytes };
}

/** @throws InvalidPatch when the header does not match its own digest. */
export function checkHeaderDigest(header: Uint8Array, hasher: Hasher): void {
  const stored = header.subarray(header.length - HASH_BYTES);
  if (!equalBytes(headerDigest(header, hasher).subarray(0, HASH_BYTES), stored)) {
    throw new InvalidPatch('HEADER_DIGEST', 'the header does not match its own digest: damaged in transit');
  }
}

/**
 * Reads every field and checks each against its limit. `header` is exactly headerBytes long.
 * @throws InvalidPatch BAD_HEADER, naming the field.
 */
export function parseHeader(header: Uint8Array): PatchHeader {
  const format = FORMATS[header[5]!];
  const codec = CODECS[header[6]!];
  const profile = PROFILE_IDS[header[8]!];
  const flags = readU16(header, 10);
  if (format === undefined) throw bad('model format', `0 to ${FORMATS.length - 1}`, header[5]!);
  if (codec === undefined || codec === null) throw bad('codec', '1 (zstd) or 2 (neural)', header[6]!);
  if (profile === undefined) throw bad('profile', '0 (gateway) or 1 (mcu)', header[8]!);
  if ((flags & ~KNOWN_FLAGS) !== 0) throw bad('flags', `no bits outside 0x${KNOWN_FLAGS.toString(16)}`, flags);
  const classes = codec === 'neural' ? 1 : 0;
  if (header[9]! > classes) throw bad('decode class', `0 to ${classes}`, header[9]!);
  if (header[171] !== 0) throw bad('reserved byte', '0', header[171]!);
  const priorsBytes = within('priors', readU16(header, 14), 0, MAX_PRIORS_BYTES);
  const familyBytes = within('family length', header[168]!, 0, MAX_NAME_BYTES);
  const classBytes = within('device class length', header[169]!, 0, MAX_NAME_BYTES);
  const expected = FIXED_HEADER_BYTES + familyBytes + classBytes + priorsBytes + HASH_BYTES;
  if (expected !== header.length) throw bad('header length', `${expected}`, header.length);
  if ((flags & FLAG_CREATED_AT) === 0 && readU64(header, 144) !== 0)
    throw bad('creation time without its flag', '0', readU64(header, 144));
  const standalone = (flags & FLAG_STANDALONE) !== 0;
  const segmentBytes = within('segment size', readU32(header, 20), MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
  if ((segmentBytes & (segmentBytes - 1)) !== 0) throw bad('segment size', 'a power of two', segmentBytes);
  const sourceSize = within('source size', readU64(header, 40), 0, standalone ? 0 : MAX_FILE_BYTES);
  const targetSize = within('target size', readU64(header, 48), 0, MAX_FILE_BYTES);
  const bodyBytes = within(
    'body size',
    readU64(header, 56),
    targetSize === 0 ? 0 : 1,
    targetSize === 0 ? 0 : MAX_FILE_BYTES,
  );
  const sourceHash = header.slice(64, 96);
  if (standalone && !isZero(sourceHash)) throw bad('source hash of a stand-alone patch', 'zeros', 1);
  const classStart = FIXED_HEADER_BYTES + familyBytes;
  const priorsStart = classStart + classBytes;
  return {
    version: header[4]!,
    format,
    codec,
    level: header[7]!,
    profile,
    decodeClass: header[9]!,
    standalone,
    frameBytes: within('frame size', readU32(header, 16), MIN_FRAME_BYTES, MAX_FRAME_BYTES),
    segmentBytes,
    unitBytes: unitBytesOf(header[170]!, segmentBytes),
    packedBytes: within('packed buffer', readU32(header, 24), 0, MAX_PLAIN_BYTES),
    plainBytes: within('plain buffer', readU32(header, 28), 0, MAX_PLAIN_BYTES),
    dictionaryBytes: within('dictionary', readU32(header, 32), 0, MAX_DICTIONARY_BYTES),
    contextBytes: within('contexts', readU32(header, 36), 0, codec === 'neural' ? MAX_CONTEXT_BYTES : 0),
    sourceSize,
    targetSize,
    bodyBytes,
    sourceHash,
    targetHash: header.slice(96, 128),
    tensorsModified: readU32(header, 128),
    tensorsUnchanged: readU32(header, 132),
    versionCounter: readU32(header, 136),
    minimumCounter: readU32(header, 140),
    createdAt: flags & FLAG_CREATED_AT ? within('creation time', readU64(header, 144), 0, 2 ** 40) : null,
    firstFrameHash: header.slice(152, 168),
    family: decodeUtf8(header.subarray(FIXED_HEADER_BYTES, classStart)),
    deviceClass: decodeUtf8(header.subarray(classStart, priorsStart)),
    priors: header.slice(priorsStart, priorsStart + priorsBytes),
  };
}

/** The unit is given as the power of two that it is. */
function unitBytesOf(power: number, segmentBytes: number): number {
  if (power === 0) return 0;
  const least = 31 - Math.clz32(segmentBytes);
  return 2 ** within('in-place unit, log2', power, least, 31 - Math.clz32(MAX_UNIT_BYTES));
}

function within(field: string, value: number, least: number, most: number): number {
  if (value < least || value > most) throw bad(field, `${least} to ${most}`, value);
  return value;
}

function bad(field: string, expected: string, got: number): InvalidPatch {
  return new InvalidPatch('BAD_HEADER', `${field}: expected ${expected}, got ${got}`);
}
