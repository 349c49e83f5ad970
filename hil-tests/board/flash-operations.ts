/**
 * What an emulated board does to its flash, one operation at a time: the processor is held where the firmware's flash driver is
 * called, so that power can be cut right before any of them. And what such a cut may have left on a real part, which QEMU's flash does not
 * model: the operation half-done.
 */
import { execFileSync } from 'node:child_process';
import { Prng } from '../../targets/sim/prng.js';
import type { FlashImage } from './flash-image.js';
import type { GdbStub } from './gdb-stub.js';

export type FlashOperation =
  | { readonly kind: 'erase'; readonly offset: number }
  | { readonly kind: 'program'; readonly offset: number; readonly bytes: Uint8Array };

const BLOCK_BYTES = 4096;

export class FlashOperations {
  private readonly stub: GdbStub;
  private readonly eraseAddress: number;

  private constructor(stub: GdbStub, eraseAddress: number) {
    this.stub = stub;
    this.eraseAddress = eraseAddress;
  }

  static async watch(stub: GdbStub, firmware: string): Promise<FlashOperations> {
    const [erase, program] = addressesOf(firmware, ['flash_erase', 'flash_program']);
    for (const address of [erase!, program!]) await stub.breakAt(address);
    return new FlashOperations(stub, erase!);
  }

  /** Lets the processor run to the next operation and holds it there: this one is not done yet. */
  async next(): Promise<FlashOperation> {
    const at = await this.stub.run();
    const [offset, bytes, length] = await this.stub.registers();
    if (at === this.eraseAddress) return { kind: 'erase', offset: offset! };
    return { kind: 'program', offset: offset!, bytes: await this.stub.memory(bytes!, length!) };
  }
}

function addressesOf(firmware: string, names: readonly string[]): number[] {
  const symbols = execFileSync('arm-none-eabi-nm', [firmware], { encoding: 'utf8' }).split('\n');
  return names.map((name) => {
    const line = symbols.find((symbol) => symbol.endsWith(` T ${name}`));
    if (line === undefined) throw new Error(`${firmware} has no ${name}`);
    return Number.parseInt(line, 16);
  });
}

/** An image that the operation in flight left half-done when power went away, another one for each seed. */
export function tear(image: FlashImage, operation: FlashOperation, seed: number): FlashImage {
  const torn = image.copy();
  const random = new Prng(seed);
  if (operation.kind === 'erase')
    tearErase(torn.bytes.subarray(operation.offset, operation.offset + BLOCK_BYTES), random);
  else tearProgram(torn, operation.offset, operation.bytes, random);
  return torn;
}

/** Half of the sector erased, or all of it a mixture. */
function tearErase(sector: Uint8Array, random: Prng): void {
  if (random.below(2) === 0) {
    sector.fill(0xff, 0, sector.length / 2);
    return;
  }
  for (let i = 0; i < sector.length; i++) {
    const choice = random.below(3);
    if (choice > 0) sector[i] = choice === 1 ? 0xff : random.byte();
  }
}

/** Bytes up to somewhere are written; of the rest of the page, any of the bits that were to change. */
function tearProgram(image: FlashImage, offset: number, bytes: Uint8Array, random: Prng): void {
  const whole = random.below(bytes.length);
  const spread = random.below(2) === 0 ? whole + 1 : bytes.length;
  image.program(offset, bytes.subarray(0, whole));
  image.program(
    offset + whole,
    bytes.subarray(whole, spread).map((byte) => byte | random.byte()),
  );
}
