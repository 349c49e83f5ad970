/**
 * The slot store on Linux: a block device, and an MTD character device. Regular files stand in for both, on the same code path;
 * a loop device, which is a real block device, is used where this process may attach one. No MTD device was at hand: what
 * flash_erase and the kernel do is played by a script and a folder.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { IoError } from '../core/errors.js';
import type { SlotStore } from '../core/ports.js';
import { FlashSlots } from '../core/slots/flash-slots.js';
import { planLayout, regionsOf } from '../core/slots/layout.js';
import { BlockDevice } from '../targets/node/block-device.js';
import { MtdFlash } from '../targets/node/mtd-flash.js';
import { flashContract, readBack } from './contracts/flash-contract.js';
import { slotStoreContract } from './contracts/slot-store-contract.js';
import { patternBytes } from './contracts/test-bytes.js';

const root = mkdtempSync(join(tmpdir(), 'mallorn-linux-flash-'));
const KIB = 1024;
const MIB = 1024 * KIB;
let files = 0;

const loop = attachLoop();
after(() => {
  if (loop !== null) execFileSync('losetup', ['-d', loop]);
  rmSync(root, { recursive: true });
});

blockDeviceSuite('a regular file in place of a block device', () => sizedFile(4 * MIB));
describe('a loop device', { skip: loop === null && 'this process may not attach one' }, () => {
  if (loop !== null) blockDeviceSuite('a loop device', () => loop);
  test('is claimed alone and takes its size and sector from the kernel', { skip: loop === null }, () => {
    const device = BlockDevice.open(loop!);
    try {
      assert.deepEqual([device.status().size, device.status().writeAlign], [4 * MIB, 512]);
      assert.throws(() => BlockDevice.open(loop!), { name: 'IoError', message: /EBUSY/ });
    } finally {
      device.close();
    }
  });
});

describe('BlockDevice', () => {
  test('refuses what is neither a block device nor a file', () => {
    assert.throws(() => BlockDevice.open(root), IoError);
    assert.throws(() => BlockDevice.open('/dev/null'), /expected a block device or a file/);
    assert.throws(() => BlockDevice.open(join(root, 'missing')), /ENOENT/);
  });

  test('writes no record into the sector of another', () => {
    const device = BlockDevice.open(sizedFile(MIB), { blockLength: 16 * KIB, sectorBytes: 4096 });
    assert.throws(() => device.flash().program(144, new Uint8Array(4096)), /writes of 4096 bytes/);
    assert.throws(() => device.flash().program(0, new Uint8Array(144)), /writes of 4096 bytes/);
    const layout = planLayout(device.status());
    FlashSlots.format(device.regions(layout));
    const store = FlashSlots.open(device.regions(layout));
    store.openInactive(100);
    const area = device.regions(layout).records[0];
    const start = readBack(area, 0, 4);
    assert.deepEqual(readBack(area, 4096, 4), start);
    assert.ok(readBack(area, 144, 4096 - 144).every((byte) => byte === 0xff));
    device.close();
  });
});

describe('MtdFlash', () => {
  flashContract('MtdFlash over stand-ins', () => {
    const mtd = standIn('mtd7', { size: 64 * KIB, erasesize: 16 * KIB });
    const opened = [mtd.open()];
    const reopen = (): MtdFlash => {
      opened.push(mtd.open());
      return opened.at(-1)!;
    };
    return { device: opened[0]!, reopen, dispose: () => opened.map((device) => device.close()) };
  });

  slotStoreContract('FlashSlots on MtdFlash over stand-ins', () => {
    const device = standIn('mtd8', { size: MIB, erasesize: 64 * KIB });
    let flash = device.open();
    const regions = () => regionsOf(flash, planLayout(flash.status()));
    FlashSlots.format(regions());
    const open = (): SlotStore => FlashSlots.open(regions(), { trialBoots: 0 });
    const reopen = (): SlotStore => {
      flash.close();
      flash = device.open();
      return open();
    };
    return { store: open(), reopen, dispose: () => flash.close() };
  });

  test('finds that a block was not erased, though flash_erase ended well', () => {
    const mtd = standIn('mtd9', { size: 64 * KIB, erasesize: 16 * KIB }, '#!/bin/sh\nexit 0\n');
    const flash = mtd.open();
    flash.program(0, patternBytes(16));
    assert.throws(() => flash.eraseBlock(0), { name: 'IoError', message: /it does not read as erased/ });
    flash.close();
  });

  test('says what flash_erase says, and that it is missing', () => {
    const mtd = standIn('mtd10', { size: 64 * KIB, erasesize: 16 * KIB }, '#!/bin/sh\necho locked >&2\nexit 1\n');
    assert.throws(() => mtd.open().eraseBlock(1), { name: 'IoError', message: /block 1 of .*mtd10: locked/ });
    assert.throws(() => mtd.open(join(root, 'no-such-command')).eraseBlock(1), { name: 'IoError', message: /ENOENT/ });
  });

  test('refuses raw NAND and parts with blocks of several sizes', () => {
    const size = { size: 64 * KIB, erasesize: 16 * KIB };
    assert.throws(() => standIn('mtd11', { ...size, type: 'nand' }).open(), /expected flash of type nor/);
    assert.throws(() => standIn('mtd12', { ...size, numeraseregions: 2 }).open(), /erase blocks of one size/);
    assert.throws(() => standIn('mtd13', { ...size, erasesize: 1000 }).open(), /expected whole blocks/);
  });
});

function blockDeviceSuite(name: string, path: () => string): void {
  // Not reopened: a block device is claimed by one, and the contract goes on using the first. The slot store's does reopen.
  flashContract(`BlockDevice, sectors of ${name}`, () => {
    const device = BlockDevice.open(path());
    return { device: device.flash(), dispose: () => device.close() };
  });

  slotStoreContract(`FlashSlots on ${name}`, () => {
    const opened = path();
    let device = BlockDevice.open(opened);
    const regions = () => device.regions(planLayout(device.status()));
    FlashSlots.format(regions());
    const open = (): SlotStore => FlashSlots.open(regions(), { trialBoots: 0 });
    const reopen = (): SlotStore => {
      device.close();
      device = BlockDevice.open(opened);
      return open();
    };
    return { store: open(), reopen, dispose: () => device.close() };
  });
}

function sizedFile(size: number): string {
  const path = join(root, `${files++}.img`);
  writeFileSync(path, '');
  truncateSync(path, size);
  return path;
}

/** A free loop device over a file of 4 MiB; null where this process may not have one. */
function attachLoop(): string | null {
  try {
    const args = ['--find', '--show', sizedFile(4 * MIB)];
    return execFileSync('losetup', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return null;
  }
}

/** An MTD device made of a file that starts erased, the kernel's description of it, and a flash_erase. */
function standIn(name: string, about: Record<string, string | number>, script?: string) {
  const folder = join(root, `${files++}`);
  mkdirSync(join(folder, 'sysfs', name), { recursive: true });
  const path = join(folder, name);
  const described = { type: 'nor', writesize: 1, numeraseregions: 0, ...about };
  for (const [key, value] of Object.entries(described)) writeFileSync(join(folder, 'sysfs', name, key), `${value}\n`);
  writeFileSync(path, new Uint8Array(Number(about['size'])).fill(0xff));
  const eraser = join(folder, 'flash_erase');
  const block = Number(about['erasesize']);
  const fill = `head -c ${block} /dev/zero | tr '\\000' '\\377'`;
  const erase = `#!/bin/sh\n${fill} | dd of="$2" bs=${block} seek=$(($3 / ${block})) conv=notrunc status=none\n`;
  writeFileSync(eraser, script ?? erase);
  chmodSync(eraser, 0o755);
  return { open: (command = eraser) => MtdFlash.open(path, { sysfs: join(folder, 'sysfs'), eraser: command }) };
}
