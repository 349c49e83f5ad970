/** Base64 (RFC 4648, 4) that refuses what Buffer would skip over: other characters, missing padding, loose bits. */

/** null where `text` is not the one encoding of some bytes. */
export function decodeBase64(text: string): Uint8Array | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? new Uint8Array(bytes) : null;
}
