/** Decodes one CBOR item (RFC 8949) of the kinds a device answers with: an independent reading of what core's writer wrote. */

export function decodeCbor(bytes: Uint8Array): unknown {
  let at = 0;
  const item = (): unknown => {
    const initial = bytes[at++]!;
    const info = initial & 31;
    if (initial === 0xf4 || initial === 0xf5) return initial === 0xf5;
    if (initial === 0xbf) {
      const map: Record<string, unknown> = {};
      while (bytes[at] !== 0xff) {
        const key = String(item());
        map[key] = item();
      }
      at++;
      return map;
    }
    let argument = info;
    if (info >= 24) {
      const length = 1 << (info - 24);
      argument = Number(Buffer.from(bytes.subarray(at, at + length)).reduce((sum, byte) => sum * 256 + byte, 0));
      at += length;
    }
    switch (initial >> 5) {
      case 0:
        return argument;
      case 2:
        at += argument;
        return bytes.slice(at - argument, at);
      case 3:
        at += argument;
        return Buffer.from(bytes.subarray(at - argument, at)).toString('utf8');
      default:
        throw new Error(`unexpected CBOR item 0x${initial.toString(16)} at ${at - 1}`);
    }
  };
  return item();
}
