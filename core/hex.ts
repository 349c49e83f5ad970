/** Bytes as lower-case hexadecimal text and back; Node 20's Uint8Array has neither. */

const DIGITS = '0123456789abcdef';

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += DIGITS.charAt(byte >> 4) + DIGITS.charAt(byte & 15);
  return text;
}

/** Accepts both cases. Throws RangeError, naming the first bad position, when the text is not pairs of hex digits. */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0) throw new RangeError(`expected an even number of hex digits, got ${text.length}`);
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (digitAt(text, 2 * i) << 4) | digitAt(text, 2 * i + 1);
  return bytes;
}

function digitAt(text: string, at: number): number {
  // Ranges, not parseInt: that accepts ' 1', '+1' and '1g'.
  const code = text.charCodeAt(at);
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  if (letter >= 0x61 && letter <= 0x66) return letter - 0x57;
  throw new RangeError(`expected a hex digit at position ${at}, got ${JSON.stringify(text.charAt(at))}`);
}
