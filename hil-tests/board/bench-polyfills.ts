/** What the portable hash uses of the language and the firmware's engine leaves out; imported before it. */

class BytesView {
  private readonly bytes: Uint8Array;
  constructor(buffer: ArrayBuffer, offset: number, length: number) {
    this.bytes = new Uint8Array(buffer, offset, length);
  }
  getUint32(at: number): number {
    const { bytes } = this;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }
  setUint32(at: number, value: number): void {
    for (let i = 0; i < 4; i++) this.bytes[at + i] = value >>> (24 - 8 * i);
  }
  setBigUint64(at: number, value: number): void {
    this.setUint32(at, Math.floor(value / 4294967296));
    this.setUint32(at + 4, value);
  }
}

const globals = globalThis as unknown as Record<'DataView' | 'BigInt', unknown>;
globals['DataView'] = BytesView;
globals['BigInt'] = (value: number) => value;
