/**
 * Just enough of GDB's remote protocol (GDB manual, "Remote Serial Protocol") to hold QEMU's processor at an address and look at its
 * registers and memory. The firmware under test knows nothing of it.
 */
import type { Socket } from 'node:net';

export class GdbStub {
  private readonly socket: Socket;
  private buffer = '';
  private waiting: ((reply: string) => void) | null = null;
  private readonly breakpoints = new Set<number>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => {
      this.buffer += data.toString('latin1');
      this.takeReply();
    });
  }

  async breakAt(address: number): Promise<void> {
    await this.ask(`Z1,${address.toString(16)},2`);
    this.breakpoints.add(address);
  }

  /** Runs until a breakpoint is reached, and gives its address. Never ends by itself when none is. */
  async run(): Promise<number> {
    const here = await this.programCounter();
    if (this.breakpoints.has(here)) {
      // The stub would stop at once where it stands.
      await this.ask(`z1,${here.toString(16)},2`);
      await this.ask('s');
      await this.ask(`Z1,${here.toString(16)},2`);
    }
    await this.ask('c');
    return this.programCounter();
  }

  /** Of ARM: r0 to r15. */
  async registers(): Promise<Uint32Array> {
    const bytes = Buffer.from((await this.ask('g')).slice(0, 16 * 8), 'hex');
    return Uint32Array.from({ length: 16 }, (_, i) => bytes.readUInt32LE(4 * i));
  }

  async memory(address: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Buffer.from(await this.ask(`m${address.toString(16)},${length.toString(16)}`), 'hex'));
    if (bytes.length !== length) throw new Error(`expected ${length} bytes at ${address}, got ${bytes.length}`);
    return bytes;
  }

  private async programCounter(): Promise<number> {
    return (await this.registers())[15]!;
  }

  private ask(command: string): Promise<string> {
    const sum = [...command].reduce((total, character) => (total + character.charCodeAt(0)) & 0xff, 0);
    const replied = new Promise<string>((resolve) => {
      this.waiting = resolve;
    });
    this.socket.write(`$${command}#${sum.toString(16).padStart(2, '0')}`);
    return replied;
  }

  private takeReply(): void {
    const found = /\$([^#]*)#[0-9a-f]{2}/.exec(this.buffer);
    if (found === null || this.waiting === null) return;
    this.buffer = this.buffer.slice(found.index + found[0].length);
    this.socket.write('+');
    const { waiting } = this;
    this.waiting = null;
    waiting(found[1]!);
  }
}
