/**
 * The slot store on a Linux block device (a partition of an SD card or eMMC), or on a regular file of fixed size in its place.
 * A sector is what such a device writes at once, and what a power cut may leave torn, with everything in it. So records and
 * journal entries lie in sectors of their own. Slots need no such care: their checkpoints lie on erase-block ends.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { IoError, invariant } from '../../core/errors.js';
import { FlashRegion } from '../../core/flash-region.js';
import type { FlashDevice, FlashStatus } from '../../core/ports.js';
import { checkLayout, type SlotLayout, type SlotRegions } from '../../core/slots/layout.js';
import { FileFlash } from './file-flash.js';
import { requireAligned, requireBlock } from './flash-file.js';
import { attempt } from './io-error.js';

export interface BlockDeviceOptions {
  /** What an erase covers in bytes, a multiple of the sector. Default 64 KiB. */
  readonly blockLength?: number;
  /** Default: what the device says is its physical block; 4096 for a regular file. */
  readonly sectorBytes?: number;
}

const DEFAULT_BLOCK_BYTES = 64 << 10;
const FILE_SECTOR_BYTES = 4096;
/** sysfs counts sizes in these, whatever the device's sector is. */
const SYSFS_UNIT = 512;

export class BlockDevice {
  readonly path: string;
  private readonly disk: FileFlash;
  private readonly sectors: SectorFlash;

  private constructor(path: string, disk: FileFlash, sectorBytes: number) {
    this.path = path;
    this.disk = disk;
    this.sectors = new SectorFlash(disk, sectorBytes);
  }

  /**
   * Follows symbolic links, as /dev/disk/by-partlabel has them. Throws IoError when the device is in use: mounted, or opened
   * by another that claims it alone.
   */
  static open(path: string, options: BlockDeviceOptions = {}): BlockDevice {
    // Without O_CREAT, O_EXCL claims a block device; on a regular file Linux does not look at it.
    const fd = attempt(`cannot open ${path}`, () => openSync(path, constants.O_RDWR | constants.O_EXCL));
    try {
      const stats = attempt(`cannot read ${path}`, () => fstatSync(fd));
      if (!stats.isBlockDevice() && !stats.isFile()) throw new IoError(`expected a block device or a file: ${path}`);
      const { blockLength = DEFAULT_BLOCK_BYTES, sectorBytes = sectorOf(stats) } = options;
      const size = sizeOf(stats);
      invariant(blockLength % sectorBytes === 0, `blocks of whole sectors, got ${blockLength} and ${sectorBytes}`);
      const whole = size - (size % blockLength);
      return new BlockDevice(path, new FileFlash(fd, path, { size: whole, blockLength, erase: 'lazy' }), sectorBytes);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Of the sectors view; what a layout is planned against. */
  status(): FlashStatus {
    return this.sectors.status();
  }

  /** The whole device, erased by writing: what records and journal need. */
  flash(): FlashDevice {
    return this.sectors;
  }

  /** Slots are not written twice: erasing a block of them does nothing. Throws IoError when the layout does not fit. */
  regions(layout: SlotLayout): SlotRegions {
    checkLayout(this.status(), layout);
    const { slots, journal, records } = layout;
    const { disk, sectors } = this;
    return {
      slots: [new FlashRegion(disk, slots[0]), new FlashRegion(disk, slots[1])],
      journal: new FlashRegion(sectors, journal),
      records: [new FlashRegion(sectors, records[0]), new FlashRegion(sectors, records[1])],
    };
  }

  close(): void {
    this.disk.close();
  }
}

/** Whole sectors of a disk, erased by writing eraseValue. */
class SectorFlash implements FlashDevice {
  private readonly disk: FileFlash;
  private readonly geometry: FlashStatus;
  private readonly erased: Uint8Array;

  constructor(disk: FileFlash, sectorBytes: number) {
    this.disk = disk;
    this.geometry = { ...disk.status(), writeAlign: sectorBytes };
    this.erased = new Uint8Array(this.geometry.blockLength).fill(this.geometry.eraseValue);
  }

  status(): FlashStatus {
    return this.geometry;
  }

  read(offset: number, into: Uint8Array): void {
    this.disk.read(offset, into);
  }

  eraseBlock(index: number): void {
    requireBlock(this.geometry, index);
    this.disk.program(index * this.geometry.blockLength, this.erased);
  }

  program(offset: number, bytes: Uint8Array): void {
    requireAligned(this.geometry, offset, bytes.length);
    this.disk.program(offset, bytes);
  }

  sync(): void {
    this.disk.sync();
  }
}

function sizeOf(stats: Stats): number {
  // A block device has no size as a file.
  return stats.isFile() ? stats.size : SYSFS_UNIT * readNumber(`${sysfsOf(stats)}/size`);
}

function sectorOf(stats: Stats): number {
  if (stats.isFile()) return FILE_SECTOR_BYTES;
  const folder = sysfsOf(stats);
  const name = 'queue/physical_block_size';
  try {
    return readNumber(`${folder}/${name}`);
  } catch {
    // The queue is the disk's, one folder above its partitions.
    return readNumber(`${folder}/../${name}`);
  }
}

/** Device numbers as glibc packs them (sys/sysmacros.h), below 2^32. */
function sysfsOf({ rdev }: Stats): string {
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return `/sys/dev/block/${major}:${minor}`;
}

function readNumber(path: string): number {
  const text = attempt(`cannot read ${path}`, () => readFileSync(path, 'utf8')).trim();
  const value = Number(text);
  if (text === '' || !Number.isSafeInteger(value) || value <= 0)
    throw new IoError(`expected a size, got ${text}: ${path}`);
  return value;
}
