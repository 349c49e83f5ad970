/**
 * A device whose program is dist/mallorn.qjs.js, in QuickJS's WebAssembly build under a heap limit. Its flash lies in the engine's
 * own memory and counts: programs go into erased bytes alone.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { getQuickJS, type QuickJSContext, type QuickJSRuntime } from 'quickjs-emscripten';
import { FlashImage } from '../board/flash-image.js';
import { SmpClient } from '../board/smp-client.js';
import { repoRoot } from './paths.js';

export interface HostFacts {
  readonly deviceClass?: string;
  readonly rootKey?: string;
  readonly maxBufferBytes?: number;
}

const HOST = `
const bytes = new Uint8Array(flashBuffer);
let inbox = new Uint8Array(0);
let outbox = [];
const eraseBytes = 4096;
globalThis.host = {
  ...JSON.parse(facts),
  flashBytes: bytes.length,
  eraseBytes,
  flashRead(offset, into) { into.set(bytes.subarray(offset, offset + into.length)); },
  flashErase(offset) {
    if (offset % eraseBytes !== 0) throw new Error('no block begins there');
    bytes.fill(0xff, offset, offset + eraseBytes);
  },
  flashProgram(offset, data) {
    for (let i = 0; i < data.length; i++) if (bytes[offset + i] !== 0xff) throw new Error('programmed without an erase');
    bytes.set(data, offset);
  },
  serialRead(into) {
    const taken = inbox.subarray(0, into.length);
    into.set(taken);
    inbox = inbox.subarray(taken.length);
    return taken.length;
  },
  serialWrite(data) { outbox.push(...data); },
  clock: () => 0,
  collectGarbage() {},
  usage: () => 0,
  reset() {},
};
function exchange(buffer) {
  inbox = new Uint8Array(buffer);
  outbox = [];
  while (step());
  return new Uint8Array(outbox).buffer;
}
`;

export class QuickJsDevice {
  readonly client: SmpClient;
  private readonly runtime: QuickJSRuntime;
  private readonly vm: QuickJSContext;
  private readonly scratchBlocks: number;
  private heard: (bytes: Uint8Array) => void = () => {};

  private constructor(runtime: QuickJSRuntime, image: FlashImage, facts: HostFacts) {
    this.runtime = runtime;
    this.scratchBlocks = image.scratchBlocks;
    this.vm = runtime.newContext();
    const { vm } = this;
    vm.newArrayBuffer(image.bytes.slice().buffer).consume((handle) => vm.setProp(vm.global, 'flashBuffer', handle));
    const all = { deviceClass: 'test', scratchBlocks: image.scratchBlocks, ...facts };
    vm.newString(JSON.stringify(all)).consume((handle) => vm.setProp(vm.global, 'facts', handle));
    this.evaluate(HOST);
    this.evaluate(readFileSync(join(repoRoot, 'dist/mallorn.qjs.js'), 'utf8'));
    this.evaluate('globalThis.step = host.start();');
    this.client = new SmpClient({
      write: (bytes) => this.exchange(bytes),
      on: (_event, take) => {
        this.heard = take;
      },
    });
  }

  /** Powers up on `image`, which stays as it is. The flash counts as heap. */
  static async powerUp(image: FlashImage, heapLimitBytes: number, facts: HostFacts = {}): Promise<QuickJsDevice> {
    const runtime = (await getQuickJS()).newRuntime();
    runtime.setMemoryLimit(heapLimitBytes);
    return new QuickJsDevice(runtime, image, facts);
  }

  /** What the flash holds. Ends the device. */
  cutPower(): FlashImage {
    const { vm } = this;
    const bytes = vm
      .getProp(vm.global, 'flashBuffer')
      .consume((handle) => vm.getArrayBuffer(handle).consume(({ value }) => value.slice()));
    vm.dispose();
    this.runtime.dispose();
    return new FlashImage(bytes, this.scratchBlocks);
  }

  private exchange(bytes: Uint8Array): void {
    const { vm } = this;
    const call = vm.getProp(vm.global, 'exchange');
    const argument = vm.newArrayBuffer(bytes.slice().buffer);
    const answer = vm.unwrapResult(vm.callFunction(call, vm.undefined, argument));
    const said = vm.getArrayBuffer(answer).consume(({ value }) => value.slice());
    for (const handle of [call, argument, answer]) handle.dispose();
    this.heard(said);
  }

  private evaluate(code: string): void {
    this.vm.unwrapResult(this.vm.evalCode(code)).dispose();
  }
}
