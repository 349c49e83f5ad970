/**
 * A Linux MTD character device (/dev/mtdN): raw NOR flash, uncached. Node has no ioctl, so erasing, which needs MEMERASE, is done by
 * flash_erase of mtd-utils: a process for each block. Raw NAND is refused: without a translation layer its blocks go bad in
 * use, and slots are not laid around bad blocks. Use UBI there, with a file system and a slot directory.
 */
import { spawnSync } from 'node:child_process';
import { constants, openSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { IoError } from '../../core/errors.js';
import type { FlashDevice, FlashStatus } from '../../core/ports.js';
import { isBlank } from '../../core/slots/blank.js';
import { FlashFile, requireAligned, requireBlock } from './flash-file.js';
import { attempt } from './io-error.js';

export interface MtdFlashOptions {
  /** Where the kernel describes its MTD devices. Default /sys/class/mtd. */
  readonly sysfs?: string;
  /** Command called as flash_erase is: -q DEVICE OFFSET COUNT. Default flash_erase, from the PATH. */
  readonly eraser?: string;
}

const ERASE_VALUE = 0xff;
/** A large sector takes seconds to erase. */
const ERASE_MS = 60_000;
/** The kernel's names of what behaves like NOR flash; `ram` is mtdram. */
const TYPES = ['nor', 'ram'];

export class MtdFlash implements FlashDevice {
  private readonly file: FlashFile;
  private readonly eraser: string;
  private readonly buffer = new Uint8Array(4096);

  private constructor(file: FlashFile, eraser: string) {
    this.file = file;
    this.eraser = eraser;
  }

  /** Throws IoError when it cannot be opened, is no NOR flash, or its blocks differ in size. */
  static open(path: string, { sysfs = '/sys/class/mtd', eraser = 'flash_erase' }: MtdFlashOptions = {}): MtdFlash {
    const folder = join(sysfs, basename(path));
    const about = (name: string): string =>
      attempt(`cannot read ${folder}/${name}`, () => readFileSync(join(folder, name), 'utf8')).trim();
    const type = about('type');
    if (!TYPES.includes(type)) throw new IoError(`expected flash of type ${TYPES.join(', ')}, got ${type}: ${path}`);
    if (countOf(about('numeraseregions'), 0) > 1) throw new IoError(`expected erase blocks of one size: ${path}`);
    const blockLength = countOf(about('erasesize'), 1);
    const size = countOf(about('size'), 1);
    const writeAlign = countOf(about('writesize'), 1);
    if (size % blockLength !== 0 || blockLength % writeAlign !== 0) {
      throw new IoError(
        `expected whole blocks, got ${size} bytes, blocks of ${blockLength}, writes of ${writeAlign}: ${path}`,
      );
    }
    const geometry = { size, blockLength, blocks: size / blockLength, writeAlign, eraseValue: ERASE_VALUE };
    const fd = attempt(`cannot open ${path}`, () => openSync(path, constants.O_RDWR));
    return new MtdFlash(new FlashFile(fd, path, geometry), eraser);
  }

  status(): FlashStatus {
    return this.file.geometry;
  }

  read(offset: number, into: Uint8Array): void {
    const count = this.file.read(offset, into);
    if (count < into.length)
      throw new IoError(`expected ${into.length} bytes at ${offset}, got ${count}: ${this.file.path}`);
  }

  /** Looks at the block afterwards: flash_erase ends well also when a block was not erased. */
  eraseBlock(index: number): void {
    const { path, geometry } = this.file;
    requireBlock(geometry, index);
    const offset = index * geometry.blockLength;
    const doing = `cannot erase block ${index} of ${path}`;
    const { error, status, stderr } = spawnSync(this.eraser, ['-q', path, `${offset}`, '1'], {
      encoding: 'utf8',
      timeout: ERASE_MS,
    });
    if (error !== undefined) throw new IoError(`${doing}: ${error.message}`, { cause: error });
    if (status !== 0) throw new IoError(`${doing}: ${stderr.trim() || `exit code ${status}`}`);
    if (!isBlank(this, index, this.buffer)) throw new IoError(`${doing}: it does not read as erased`);
  }

  program(offset: number, bytes: Uint8Array): void {
    requireAligned(this.file.geometry, offset, bytes.length);
    this.file.write(offset, bytes);
  }

  /** A write to an MTD character device is on the flash when it returns; it has no fsync. */
  sync(): void {
    this.file.descriptor();
  }

  /** May be called again. */
  close(): void {
    this.file.close();
  }
}

function countOf(text: string, least: number): number {
  const value = Number(text);
  if (text === '' || !Number.isSafeInteger(value) || value < least) throw new IoError(`expected a count, got ${text}`);
  return value;
}
