/** Bytes for tests that are the same on every run and differ at every offset a bug could mix up. */

/** `length` bytes that look random; another `salt` gives unrelated ones. */
export function patternBytes(length: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (salt * 0x9e3779b1 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
