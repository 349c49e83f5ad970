/** Memory that is used again and again: megabytes for each segment would pile up before V8 lets go of them. Encoder side only. */

interface Lengthy {
  readonly length: number;
  subarray(from: number, to: number): this;
}

/** One caller's. What it takes is overwritten when it takes again, and holds whatever it held before. */
export class Scratch<T extends Lengthy> {
  private readonly make: (length: number) => T;
  private memory: T;

  constructor(make: (length: number) => T) {
    this.make = make;
    this.memory = make(0);
  }

  take(length: number): T {
    if (this.memory.length < length) this.memory = this.make(length);
    return this.memory.subarray(0, length);
  }
}

export function scratchBytes(): Scratch<Uint8Array> {
  return new Scratch((length) => new Uint8Array(length));
}
