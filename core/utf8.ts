/** UTF-8 (RFC 3629) without TextDecoder, which core's smallest host does not have. Malformed input becomes U+FFFD. */

export function decodeUtf8(bytes: Uint8Array): string {
  let text = '';
  let i = 0;
  while (i < bytes.length) {
    const lead = bytes[i++]!;
    const extra =
      lead < 0x80
        ? 0
        : lead >= 0xc2 && lead < 0xe0
          ? 1
          : lead >= 0xe0 && lead < 0xf0
            ? 2
            : lead >= 0xf0 && lead < 0xf5
              ? 3
              : -1;
    let point = extra <= 0 ? lead : lead & (0x3f >> extra);
    let left = extra;
    while (left > 0 && i < bytes.length && (bytes[i]! & 0xc0) === 0x80) {
      point = (point << 6) | (bytes[i++]! & 0x3f);
      left--;
    }
    const overlong = (extra === 2 && point < 0x800) || (extra === 3 && point < 0x10000);
    const valid = left === 0 && extra >= 0 && !overlong && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
    text += String.fromCodePoint(valid ? point : 0xfffd);
  }
  return text;
}

export function encodeUtf8(text: string): Uint8Array {
  const out: number[] = [];
  for (const character of text) {
    const raw = character.codePointAt(0)!;
    const point = raw >= 0xd800 && raw <= 0xdfff ? 0xfffd : raw;
    if (point < 0x80) out.push(point);
    else if (point < 0x800) out.push(0xc0 | (point >> 6), 0x80 | (point & 0x3f));
    else if (point < 0x10000) out.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
    else {
      out.push(
        0xf0 | (point >> 18),
        0x80 | ((point >> 12) & 0x3f),
        0x80 | ((point >> 6) & 0x3f),
        0x80 | (point & 0x3f),
      );
    }
  }
  return new Uint8Array(out);
}
