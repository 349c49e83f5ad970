/**
 * The device program's host under `qjs`, for Linux devices without room for Node (OpenWrt). Sets the global `host`, which must be there
 * before board.main.ts is evaluated; linux.main.ts imports both in that order.
 */
// biome-ignore lint/style/useNodejsImportProtocol: QuickJS's module, not Node's.
import * as os from 'os';
import * as std from 'std';
import { FlashRegion } from '../../core/flash-region.js';
import { fromHex } from '../../core/hex.js';
import { FlashSlots } from '../../core/slots/flash-slots.js';
import { planLayout, planOneSlot, regionsOf } from '../../core/slots/layout.js';
import { OneSlot } from '../../core/slots/one-slot.js';
import { formatTrustedKeys } from '../../core/slots/trusted-keys.js';
import { BoardFlash } from './board-ports.js';
import type { Host } from './host.js';
import { fileFlash, mtdFlash, openFile } from './linux-flash.js';
import { type LinuxOptions, parseOptions, USAGE } from './linux-options.js';

declare const scriptArgs: string[];

/** Read when the line has something, and never before all of it was taken: the rest waits in the kernel. */
const INPUT_BYTES = 4096;
const NO_INPUT = new Uint8Array(0);

const options = readOptions();
const [inputFd, outputFd] = options.tty === null ? [0, 1] : openTty(options.tty);
const input = new Uint8Array(INPUT_BYTES);
let unread: Uint8Array = NO_INPUT;

const { kind, path } = options.flash;
const flash = kind === 'file' ? fileFlash(path) : mtdFlash(path, options);
export const host: Host = {
  ...flash,
  deviceClass: options.deviceClass,
  rootKey: options.rootKey,
  scratchBlocks: options.scratchBlocks,
  serialRead(into) {
    const taken = unread.subarray(0, into.length);
    into.set(taken);
    unread = unread.subarray(taken.length);
    return taken.length;
  },
  serialWrite(bytes) {
    for (let done = 0; done < bytes.length; ) {
      const count = os.write(outputFd, bytes.buffer, bytes.byteOffset + done, bytes.length - done);
      if (count <= 0) std.exit(1);
      done += count;
    }
  },
  // Whatever supervises the process starts it again.
  reset: () => std.exit(0),
  clock: () => os.now(),
  collectGarbage: () => std.gc(),
  usage: () => 0,
};
if (options.format !== null) format(options.format.map(fromHex));
(globalThis as unknown as { host: Host }).host = host;

/** Serves the line until it ends. */
export function serve(): void {
  const step = host.start!();
  os.setReadHandler(inputFd, () => {
    const count = os.read(inputFd, input.buffer, 0, input.length);
    if (count <= 0) std.exit(0);
    unread = input.subarray(0, count);
    while (step());
  });
}

function format(keys: readonly Uint8Array[]): never {
  const device = new BoardFlash(host);
  if (options.scratchBlocks > 0) {
    const plan = planOneSlot(device, options.scratchBlocks);
    formatTrustedKeys(plan.keys, keys);
    OneSlot.format(plan.regions);
  } else {
    const layout = planLayout(device.status());
    const [area, copy] = layout.keys;
    formatTrustedKeys([new FlashRegion(device, area), new FlashRegion(device, copy)], keys);
    FlashSlots.format(regionsOf(device, layout));
  }
  return std.exit(0);
}

function openTty(name: string): [number, number] {
  const fd = openFile(name, os.O_RDWR);
  os.ttySetRaw(fd);
  return [fd, fd];
}

function readOptions(): LinuxOptions {
  try {
    return parseOptions(scriptArgs.slice(1));
  } catch (error) {
    std.err.puts(`${(error as Error).message}\n${USAGE}`);
    return std.exit(2);
  }
}
