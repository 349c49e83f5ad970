/**
 * A microcontroller without hardware: the program of the firmware (targets/quickjs/board.main.ts) in QuickJS's WebAssembly build,
 * with flash and a serial line as the board has them. Flash lies in the engine's memory and keeps NOR's rules; its content
 * outlives a reset, nothing else does.
 */

import variant from '@jitl/quickjs-wasmfile-release-sync';
import {
  newQuickJSWASMModuleFromVariant,
  newVariant,
  type QuickJSContext,
  type QuickJSHandle,
  type QuickJSSyncVariant,
  type QuickJSWASMModule,
} from 'quickjs-emscripten-core';
import type { Hasher } from '../../core/ports.js';
import { FLASH_BLOCK_BYTES } from './flash-image.js';

export interface McuOptions {
  /** QuickJS's WebAssembly, of @jitl/quickjs-wasmfile-release-sync. */
  readonly wasm: Uint8Array;
  /** Text of the bundled program. */
  readonly program: string;
  /** What the flash part holds at first; stays the caller's. */
  readonly flash: Uint8Array;
  /** Of the buffer for a packet. Default: as on the board. */
  readonly packetBytes?: number;
  /** Public, in hex; with it the device takes key records. */
  readonly rootKey?: string;
  /** Erase blocks of the scratch area of a device with one slot. Default: 0, two slots. */
  readonly scratchBlocks?: number;
  readonly hasher: Hasher;
  /** Milliseconds. */
  readonly now: () => number;
  /** Takes what the device sends. */
  readonly onSend: (bytes: Uint8Array) => void;
  /** Takes what the device erased or wrote. */
  readonly onFlash?: (offset: number, bytes: Uint8Array) => void;
}

// The package's types say what it is imported as, not what that is.
const engine = variant as unknown as QuickJSSyncVariant;

const DEVICE_CLASS = 'ast1030-evb';
const BOARD_PACKET_BYTES = 640;
const BOARD_RING_BYTES = 2048;

/** The board's `host` (targets/quickjs/host.d.ts) over `native`: what crosses between engine and host is copied. */
const HOST = `
const flash = new Uint8Array(flashBuffer);
const own = (bytes) => bytes.slice().buffer;
function changed(offset, length) { native.flashChanged(offset, own(flash.subarray(offset, offset + length))); }
globalThis.host = {
  deviceClass: native.deviceClass, rootKey: native.rootKey, packetBytes: native.packetBytes, flashBytes: flash.length, eraseBytes: native.eraseBytes,
  scratchBlocks: native.scratchBlocks,
  flashRead(offset, into) { into.set(flash.subarray(offset, offset + into.length)); },
  flashErase(offset) {
    flash.fill(0xff, offset, offset + native.eraseBytes);
    changed(offset, native.eraseBytes);
  },
  flashProgram(offset, bytes) {
    for (let i = 0; i < bytes.length; i++) flash[offset + i] &= bytes[i];
    changed(offset, bytes.length);
  },
  serialRead(into) {
    const bytes = new Uint8Array(native.serialRead(into.length));
    into.set(bytes);
    return bytes.length;
  },
  serialWrite(bytes) { native.serialWrite(own(bytes)); },
  clock: native.clock,
  reset: native.reset,
  sha256Reset: native.sha256Reset,
  sha256Update(bytes) { native.sha256Update(own(bytes)); },
  sha256Digest(into) { into.set(new Uint8Array(native.sha256Digest())); },
  collectGarbage() {},
  usage: native.usage,
};
`;

export class SimulatedMcu {
  /** Received and lost, because nobody took them in time. */
  serialLost = 0;
  private readonly module: QuickJSWASMModule;
  private readonly options: McuOptions;
  private readonly flash: Uint8Array;
  private readonly ring: Uint8Array[] = [];
  private ringUsed = 0;
  private engine: Engine | null = null;
  private resetDue = false;

  private constructor(module: QuickJSWASMModule, options: McuOptions) {
    this.module = module;
    this.options = options;
    this.flash = options.flash.slice();
  }

  static async create(options: McuOptions): Promise<SimulatedMcu> {
    // A copy in memory of its own: the loader takes an ArrayBuffer.
    const wasmBinary = options.wasm.slice().buffer as ArrayBuffer;
    const module = await newQuickJSWASMModuleFromVariant(newVariant(engine, { wasmBinary }));
    return new SimulatedMcu(module, options);
  }

  /** What the flash part holds. */
  get flashBytes(): Uint8Array {
    return this.flash.slice();
  }

  /** Puts bytes on the device's line; those its buffer has no room for are lost. */
  receive(bytes: Uint8Array): void {
    const room = this.ringBytes - this.ringUsed;
    // Not slice: a Buffer's shares its memory.
    const kept = new Uint8Array(bytes.subarray(0, room));
    this.serialLost += bytes.length - kept.length;
    if (kept.length > 0) this.ring.push(kept);
    this.ringUsed += kept.length;
  }

  /** A bounded amount of work; false when there was none. Starts the device at first. */
  step(): boolean {
    this.engine ??= new Engine(this.module, this.options.program, this.flash, (native) => this.bind(native));
    const worked = this.engine.step();
    if (!this.resetDue) return worked;
    this.reset();
    return true;
  }

  /** Power off and on: the line's buffer and all memory but flash are lost. */
  reset(): void {
    this.resetDue = false;
    this.engine?.dispose();
    this.engine = null;
    this.ring.length = 0;
    this.ringUsed = 0;
  }

  dispose(): void {
    this.reset();
  }

  /** Two packets in console framing, as on the board. */
  private get ringBytes(): number {
    const { packetBytes = BOARD_PACKET_BYTES } = this.options;
    return packetBytes === BOARD_PACKET_BYTES ? BOARD_RING_BYTES : Math.ceil(packetBytes * 2.9) + 128;
  }

  private bind(engine: EngineBinding): void {
    const { hasher, now, onSend, onFlash = () => {}, packetBytes = BOARD_PACKET_BYTES } = this.options;
    const { rootKey = '', scratchBlocks = 0 } = this.options;
    engine.constant('deviceClass', DEVICE_CLASS);
    engine.constant('rootKey', rootKey);
    engine.constant('scratchBlocks', scratchBlocks);
    engine.constant('eraseBytes', FLASH_BLOCK_BYTES);
    engine.constant('packetBytes', packetBytes);
    engine.call('flashChanged', ([offset, bytes]) => {
      this.flash.set(bytes as Uint8Array, offset as number);
      onFlash(offset as number, bytes as Uint8Array);
    });
    engine.call('serialRead', ([most]) => this.takeFromRing(most as number));
    engine.call('serialWrite', ([bytes]) => onSend(bytes as Uint8Array));
    engine.call('clock', () => now());
    engine.call('reset', () => {
      this.resetDue = true;
    });
    engine.call('sha256Reset', () => hasher.reset());
    engine.call('sha256Update', ([bytes]) => hasher.update(bytes as Uint8Array));
    engine.call('sha256Digest', () => {
      const digest = new Uint8Array(32);
      hasher.digest(digest);
      return digest;
    });
    engine.call('usage', ([which]) => (which === 3 ? this.serialLost : 0));
  }

  private takeFromRing(most: number): Uint8Array {
    const first = this.ring[0];
    if (first === undefined) return NOTHING;
    const taken = first.subarray(0, most);
    this.ringUsed -= taken.length;
    if (taken.length === first.length) this.ring.shift();
    else this.ring[0] = first.subarray(taken.length);
    return taken;
  }
}

const NOTHING = new Uint8Array(0);

type Argument = number | Uint8Array;

interface EngineBinding {
  constant(name: string, value: number | string): void;
  call(name: string, use: (args: readonly Argument[]) => unknown): void;
}

/** One run of the program, from power-on to power-off. */
class Engine implements EngineBinding {
  private readonly vm: QuickJSContext;
  private readonly kept: QuickJSHandle[] = [];
  private readonly native: QuickJSHandle;
  private readonly stepHandle: QuickJSHandle;

  constructor(module: QuickJSWASMModule, program: string, flash: Uint8Array, bind: (engine: EngineBinding) => void) {
    this.vm = module.newContext();
    this.native = this.keep(this.vm.newObject());
    bind(this);
    this.vm.setProp(this.vm.global, 'native', this.native);
    const flashBuffer = this.vm.newArrayBuffer(flash.slice().buffer);
    flashBuffer.consume((handle) => this.vm.setProp(this.vm.global, 'flashBuffer', handle));
    this.evaluate(HOST).dispose();
    this.evaluate(program).dispose();
    this.stepHandle = this.keep(this.evaluate('host.start === undefined ? host.step : host.start()'));
  }

  constant(name: string, value: number | string): void {
    const handle = typeof value === 'number' ? this.vm.newNumber(value) : this.vm.newString(value);
    handle.consume((taken) => this.vm.setProp(this.native, name, taken));
  }

  call(name: string, use: (args: readonly Argument[]) => unknown): void {
    const { vm } = this;
    const handle = vm.newFunction(name, (...args) => {
      const result = use(args.map((arg) => this.argument(arg)));
      if (result instanceof Uint8Array) return vm.newArrayBuffer(new Uint8Array(result).buffer);
      return typeof result === 'number' ? vm.newNumber(result) : vm.undefined;
    });
    handle.consume((taken) => vm.setProp(this.native, name, taken));
  }

  private argument(handle: QuickJSHandle): Argument {
    if (this.vm.typeof(handle) === 'number') return this.vm.getNumber(handle);
    return this.vm.getArrayBuffer(handle).consume(({ value }) => value.slice());
  }

  step(): boolean {
    const result = this.vm.unwrapResult(this.vm.callFunction(this.stepHandle, this.vm.undefined));
    return result.consume((value) => this.vm.dump(value) === true);
  }

  dispose(): void {
    for (const handle of this.kept) handle.dispose();
    this.vm.dispose();
  }

  private evaluate(code: string): QuickJSHandle {
    return this.vm.unwrapResult(this.vm.evalCode(code, 'device.js'));
  }

  private keep(handle: QuickJSHandle): QuickJSHandle {
    this.kept.push(handle);
    return handle;
  }
}
