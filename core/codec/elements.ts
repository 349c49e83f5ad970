/**
 * Element types of DELTA and LITERAL ops (SPEC.md, "Element types"): how many bytes an element has, and how a difference
 * is taken. Floats go through order-preserving integers, a bijection, so NaN payloads and -0 survive and a small change of
 * value is a small difference (research/codec.md). Differences are zigzag coded and split into byte planes, most
 * significant first: what zstd then sees of a fine-tune is planes that are nearly all zero.
 */

export const ELEMENT_BYTE = 0;
export const ELEMENT_INT16 = 1;
export const ELEMENT_INT32 = 2;
export const ELEMENT_FLOAT16 = 3;
export const ELEMENT_FLOAT32 = 4;
/** As FLOAT16 for differences: the sign-magnitude order is the same. The neural codec looks at the exponent too. */
export const ELEMENT_BFLOAT16 = 5;
/** As BYTE for differences; to the neural codec a weight and not a byte of a table. */
export const ELEMENT_INT8 = 6;

/** Bytes an element has, by type. */
export const ELEMENT_BYTES: readonly number[] = [1, 2, 4, 2, 4, 2, 1];

/**
 * target = source + difference, element by element.
 * @param planes data of the whole op: `elementBytes` planes, each `planeLength` bytes
 * @param first index of the first element of this call within the op
 * @param source the source's bytes, overwritten in place by the target's
 */
export function addDelta(
  type: number,
  source: Uint8Array,
  planes: Uint8Array,
  planeLength: number,
  first: number,
): void {
  switch (type) {
    case ELEMENT_BYTE:
    case ELEMENT_INT8:
      for (let i = 0; i < source.length; i++) source[i] = source[i]! + planes[first + i]!;
      return;
    case ELEMENT_INT16:
    case ELEMENT_FLOAT16:
    case ELEMENT_BFLOAT16:
      addDelta16(type !== ELEMENT_INT16, source, planes, planeLength, first);
      return;
    default:
      addDelta32(type === ELEMENT_FLOAT32, source, planes, planeLength, first);
  }
}

function addDelta16(ordered: boolean, bytes: Uint8Array, planes: Uint8Array, planeLength: number, first: number): void {
  for (let i = 0, p = first; i < bytes.length; i += 2, p++) {
    const zigzag = (planes[p]! << 8) | planes[p + planeLength]!;
    if (zigzag === 0) continue;
    const difference = (zigzag >>> 1) ^ -(zigzag & 1);
    const old = bytes[i]! | (bytes[i + 1]! << 8);
    const value = ordered ? fromOrdered16(toOrdered16(old) + difference) : old + difference;
    bytes[i] = value;
    bytes[i + 1] = value >>> 8;
  }
}

function addDelta32(ordered: boolean, bytes: Uint8Array, planes: Uint8Array, planeLength: number, first: number): void {
  for (let i = 0, p = first; i < bytes.length; i += 4, p++) {
    const zigzag =
      (planes[p]! << 24) |
      (planes[p + planeLength]! << 16) |
      (planes[p + 2 * planeLength]! << 8) |
      planes[p + 3 * planeLength]!;
    if (zigzag === 0) continue;
    const difference = (zigzag >>> 1) ^ -(zigzag & 1);
    const old = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    const value = ordered ? fromOrdered32((toOrdered32(old) + difference) | 0) : (old + difference) | 0;
    bytes[i] = value;
    bytes[i + 1] = value >>> 8;
    bytes[i + 2] = value >>> 16;
    bytes[i + 3] = value >>> 24;
  }
}

/** Gathers elements from planes: the inverse of splitting a LITERAL. */
export function joinPlanes(
  elementBytes: number,
  planes: Uint8Array,
  planeLength: number,
  first: number,
  out: Uint8Array,
): void {
  const count = out.length / elementBytes;
  for (let byte = 0; byte < elementBytes; byte++) {
    const plane = (elementBytes - 1 - byte) * planeLength + first;
    for (let i = 0; i < count; i++) out[i * elementBytes + byte] = planes[plane + i]!;
  }
}

/** Sign-magnitude to unsigned order: negative values are complemented, positive ones get the top bit. */
export function toOrdered16(bits: number): number {
  return bits & 0x8000 ? ~bits & 0xffff : bits | 0x8000;
}

export function fromOrdered16(value: number): number {
  const ordered = value & 0xffff;
  return ordered & 0x8000 ? ordered & 0x7fff : ~ordered & 0xffff;
}

export function toOrdered32(bits: number): number {
  return bits < 0 ? ~bits : bits | 0x80000000;
}

export function fromOrdered32(ordered: number): number {
  return ordered < 0 ? ordered & 0x7fffffff : ~ordered;
}
