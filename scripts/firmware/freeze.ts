/**
 * Turns the heap that a bundle's evaluation left into source for the linker: what the program never changes is read from flash
 * where it lies, and the little that it does change starts out in RAM. V8 calls this a snapshot, Moddable's XS preloading.
 *
 * A word of memory does not say whether it is a number or an address. So the same program is evaluated twice, with code and heap
 * at other addresses the second time: the words that differ are the addresses, and the difference tells of what.
 */
import { execFileSync } from 'node:child_process';

export interface Evaluated {
  /** The board's memory from address 0 on. */
  readonly memory: Uint8Array;
  readonly symbols: readonly CodeSymbol[];
}

export interface CodeSymbol {
  readonly address: number;
  readonly name: string;
}

export interface Frozen {
  readonly source: string;
  /** Functions and constants of the engine that are referred to by name. */
  readonly names: readonly string[];
  readonly flashBytes: number;
  readonly ramBytes: number;
}

interface Block {
  /** Of the payload, from the heap's start. */
  readonly offset: number;
  readonly size: number;
}

/** The smallest block of heap.c, in bytes. */
const SMALLEST = 16;
const FREE = 1;
/** Stands where a block's count of references was, and says in its low byte how much of its start is not looked at (engine.c). */
const HEADLESS = 0x70000000;
const FLAGS = 3;

export function symbolsOf(elf: string): CodeSymbol[] {
  const lines = execFileSync('arm-none-eabi-nm', ['-n', elf], { encoding: 'utf8' }).trim().split('\n');
  return lines
    .map((line) => /^([0-9a-f]+) . (.*)$/.exec(line))
    .filter((match) => match !== null && !match[2]!.startsWith('$'))
    .map((match) => ({ address: Number.parseInt(match![1]!, 16), name: match![2]! }));
}

export function freeze(first: Evaluated, second: Evaluated): Frozen {
  const heap = new FrozenHeap(first, second);
  return heap.write();
}

function addressOf(symbols: readonly CodeSymbol[], name: string): number {
  const found = symbols.filter((symbol) => symbol.name === name);
  if (found.length !== 1) throw new Error(`expected one ${name}, got ${found.length}`);
  return found[0]!.address;
}

class FrozenHeap {
  private readonly heapStart: number;
  private readonly heapShift: number;
  private readonly codeShift: number;
  private readonly first: DataView;
  private readonly second: DataView;
  private readonly blocks: Block[] = [];
  private readonly writable = new Set<Block>();
  private readonly names = new Set<string>();
  private readonly reached = new Map<Block, string>();
  private readonly waiting: Block[] = [];
  private readonly evaluated: Evaluated;

  constructor(first: Evaluated, second: Evaluated) {
    this.evaluated = first;
    this.heapStart = addressOf(first.symbols, '__heap_start');
    this.heapShift = addressOf(second.symbols, '__heap_start') - this.heapStart;
    this.codeShift = addressOf(second.symbols, 'JS_RunGC') - addressOf(first.symbols, 'JS_RunGC');
    if (this.heapShift === this.codeShift) throw new Error('expected two shifts that can be told apart');
    this.first = new DataView(first.memory.buffer, this.heapStart);
    this.second = new DataView(second.memory.buffer, this.heapStart + this.heapShift);
    for (let at = 0; ; ) {
      const size = this.first.getUint32(at, true);
      if ((size & ~FLAGS) === 4) break;
      const used = (size & FREE) === 0;
      if (used && size !== this.second.getUint32(at, true)) throw new Error(`heaps differ at ${at}`);
      if (used) this.blocks.push({ offset: at + 4, size: (size & ~FLAGS) - 4 });
      at += size & ~FLAGS;
    }
  }

  write(): Frozen {
    const memory = new DataView(this.evaluated.memory.buffer);
    const root = (name: string): string => {
      const address = memory.getUint32(addressOf(this.evaluated.symbols, name), true);
      return this.label(this.blockAt(address - this.heapStart)!, 0);
    };
    const list = addressOf(this.evaluated.symbols, 'evaluated_writable');
    for (let at = list; memory.getUint32(at, true) !== 0; at += 4) {
      const block = this.blockAt(memory.getUint32(at, true) - this.heapStart);
      if (block !== null) this.writable.add(block);
    }
    const roots = ['runtime', 'context'].map(
      (name) => `.global frozen_${name}\n.set frozen_${name}, ${root(`evaluated_${name}`)}\n`,
    );
    const flash: string[] = [];
    const ram: string[] = [];
    let flashBytes = 0;
    let ramBytes = 0;
    for (let block = this.waiting.pop(); block !== undefined; block = this.waiting.pop()) {
      const words = this.words(block);
      const name = this.reached.get(block)!;
      if (this.writable.has(block)) {
        // The firmware's heap takes it back when it is freed, and knows no smaller blocks.
        const padding = Math.max(0, SMALLEST - 4 - block.size);
        ram.push(`.word ${block.size + padding + 4}\n${name}: ${words}${'.word 0\n'.repeat(padding / 4)}`);
        ramBytes += block.size + padding + 4;
      } else {
        // What is not looked at lies over the block before.
        const first = this.first.getUint32(block.offset, true);
        const skipped = first >>> 8 === HEADLESS >>> 8 ? first & 0xff : 0;
        flash.push(`.set ${name}, . - ${skipped}\n${this.words(block, skipped)}`);
        flashBytes += block.size - skipped;
      }
    }
    const source = `.syntax unified\n.section .rodata.frozen,"a",%progbits\n.balign 8\n${flash.join('')}.section .data.frozen,"aw",%progbits\n.balign 4\n${ram.join('')}.word 4\n${roots.join('')}`;
    return { source, names: [...this.names], flashBytes, ramBytes };
  }

  private words(block: Block, skipped = 0): string {
    const out: string[] = [];
    for (let at = block.offset + skipped; at < block.offset + block.size; at += 4) out.push(this.word(at));
    return `.word ${out.join(',')}\n`;
  }

  private word(at: number): string {
    const value = this.first.getUint32(at, true);
    const difference = this.second.getUint32(at, true) - value;
    if (difference === 0) return String(value);
    if (difference === this.codeShift) return this.named(value);
    if (difference !== this.heapShift) throw new Error(`a word that differs is no address: ${value} at ${at}`);
    const block = this.blockAt(value - this.heapStart);
    if (block === null) return '0';
    return this.label(block, value - this.heapStart - block.offset);
  }

  private label(block: Block, offset: number): string {
    let name = this.reached.get(block);
    if (name === undefined) {
      name = `F${this.reached.size}`;
      this.reached.set(block, name);
      this.waiting.push(block);
    }
    return offset === 0 ? name : `${name}+${offset}`;
  }

  /** In use, and with the byte at `offset`. */
  private blockAt(offset: number): Block | null {
    let low = 0;
    let high = this.blocks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.blocks[middle]!.offset <= offset) low = middle + 1;
      else high = middle;
    }
    const block = this.blocks[low - 1];
    return block !== undefined && offset < block.offset + block.size ? block : null;
  }

  /** The linker sets bit 0 of a function's address by itself. */
  private named(address: number): string {
    const even = address & ~1;
    const { symbols } = this.evaluated;
    const { name, address: start } = symbols.filter((symbol) => symbol.address <= even).at(-1)!;
    if (symbols.filter((symbol) => symbol.name === name).length !== 1) throw new Error(`expected one ${name}`);
    this.names.add(name);
    return even === start ? name : `${name}+${address - start}`;
  }
}
