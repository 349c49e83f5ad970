/**
 * IEEE 754 binary16 and bfloat16 to and from binary32, on bit patterns, rounding to nearest even (IEEE 754-2019, 4.3.1). Integer
 * arithmetic only, so that every engine gives the same bits.
 */

/** Bits of the nearest binary16 of a binary32's bits. NaN stays NaN, quiet, with the top of its payload. */
export function floatToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200 | (fraction >>> 13));
  const rebased = exponent - 112;
  if (rebased >= 31) return sign | 0x7c00;
  if (rebased > 0) return sign | roundEven((rebased << 23) | fraction, 13);
  return rebased < -10 ? sign : sign | roundEven(fraction | 0x800000, 14 - rebased);
}

/** Bits of the binary32 that equals a binary16. */
export function halfToFloat(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13);
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // A subnormal: shift its leading one into the implied place.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | ((fraction << (shift + 13)) & 0x7fffff);
}

/** Bits of the nearest bfloat16. */
export function floatToBfloat(bits: number): number {
  const notANumber = (bits & 0x7fffffff) > 0x7f800000;
  return notANumber ? (bits >>> 16) | 0x40 : roundEven(bits, 16) & 0xffff;
}

/** bits / 2^shift, ties to even. */
function roundEven(bits: number, shift: number): number {
  const whole = bits >>> shift;
  const rest = bits & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return rest > tie || (rest === tie && (whole & 1) === 1) ? whole + 1 : whole;
}

const one = new Float32Array(1);
const oneBits = new Int32Array(one.buffer);

/** The number a binary16 stands for. */
export function halfValue(half: number): number {
  oneBits[0] = halfToFloat(half);
  return one[0]!;
}
