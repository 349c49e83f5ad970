/**
 * The emulated microcontroller: QEMU's ast1030-evb with a flash image in a file and its serial line on a socket. Power is cut by
 * QMP `stop`, which lets the flash model finish the write it is in, then SIGKILL: a bare SIGKILL loses acknowledged writes.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { FlashImage } from './flash-image.js';
import { FlashOperations } from './flash-operations.js';
import { GdbStub } from './gdb-stub.js';
import { openSocket, tell } from './qemu-socket.js';

export interface BoardOptions {
  readonly firmware: string;
  /** For the image and the sockets. */
  readonly folder: string;
  readonly image: FlashImage;
  /** One instruction is one nanosecond of the board's clock, and the same in every run. Default false. */
  readonly countInstructions?: boolean;
  /** Holds the processor at each flash operation, from the first instruction on: it runs when `operations` is asked for the next. Default false. */
  readonly watchFlash?: boolean;
}

export class EmulatedBoard {
  readonly serial: Socket;
  /** With `watchFlash`. */
  readonly operations: FlashOperations | null;
  private readonly child: ChildProcess;
  private readonly control: Socket;
  private readonly imagePath: string;

  private readonly scratchBlocks: number;

  private constructor(
    child: ChildProcess,
    sockets: { readonly serial: Socket; readonly control: Socket },
    flash: { readonly path: string; readonly scratchBlocks: number; readonly operations: FlashOperations | null },
  ) {
    this.child = child;
    this.serial = sockets.serial;
    this.control = sockets.control;
    this.imagePath = flash.path;
    this.scratchBlocks = flash.scratchBlocks;
    this.operations = flash.operations;
  }

  static async powerUp({
    firmware,
    folder,
    image,
    countInstructions = false,
    watchFlash = false,
  }: BoardOptions): Promise<EmulatedBoard> {
    const imagePath = join(folder, 'flash.img');
    const serialPath = join(folder, 'serial.sock');
    const controlPath = join(folder, 'control.sock');
    const debugPath = join(folder, 'debug.sock');
    writeFileSync(imagePath, image.bytes);
    const child = spawn(
      'qemu-system-arm',
      [
        ...['-M', 'ast1030-evb', '-kernel', firmware, '-display', 'none', '-monitor', 'none', '-nodefaults'],
        ...['-serial', `unix:${serialPath},server=on,wait=on`, '-qmp', `unix:${controlPath},server=on,wait=off`],
        ...['-drive', `if=mtd,format=raw,file=${imagePath}`],
        ...(watchFlash ? ['-S', '-gdb', `unix:${debugPath},server=on,wait=off`] : []),
        ...(countInstructions ? ['-icount', 'shift=0,sleep=off'] : []),
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    await once(child, 'spawn');
    const serial = await openSocket(serialPath, child);
    const control = await openSocket(controlPath, child);
    // The end of the process resets them.
    for (const socket of [serial, control]) socket.on('error', () => {});
    const debug = watchFlash ? await openSocket(debugPath, child) : null;
    debug?.on('error', () => {});
    const operations = debug === null ? null : await FlashOperations.watch(new GdbStub(debug), firmware);
    const { scratchBlocks } = image;
    const board = new EmulatedBoard(child, { serial, control }, { path: imagePath, scratchBlocks, operations });
    await tell(control, 'qmp_capabilities');
    return board;
  }

  /** What the flash holds after the power is gone. */
  async cutPower(): Promise<FlashImage> {
    await tell(this.control, 'stop');
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
    this.serial.destroy();
    this.control.destroy();
    return new FlashImage(new Uint8Array(readFileSync(this.imagePath)), this.scratchBlocks);
  }
}
