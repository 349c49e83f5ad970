/**
 * Flash for the device program under `qjs`: an MTD character device (/dev/mtdN, raw NOR), or a file that behaves like one. QuickJS has neither
 * ioctl nor fsync. So MTD blocks are erased by flash_erase of mtd-utils, and a file is opened O_SYNC: what was written to either
 * is durable when the call returns.
 */
// biome-ignore lint/style/useNodejsImportProtocol: QuickJS's module, not Node's.
import * as os from 'os';
import * as std from 'std';

export interface LinuxFlash {
  readonly flashBytes: number;
  readonly eraseBytes: number;
  readonly writeAlign: number;
  flashRead(offset: number, into: Uint8Array): void;
  flashErase(offset: number): void;
  flashProgram(offset: number, bytes: Uint8Array): void;
}

export interface MtdOptions {
  /** Where the kernel describes its MTD devices. */
  readonly sysfs: string;
  /** Called as flash_erase is: -q DEVICE OFFSET COUNT. */
  readonly eraser: string;
}

const FILE_ERASE_BYTES = 4096;
/** The kernel's names of what behaves like NOR flash; `ram` is mtdram. */
const NOR_TYPES = ['nor', 'ram'];
/** asm-generic/fcntl.h, and what MIPS has in its place. */
const O_SYNC = 0o4010000;
const O_SYNC_MIPS = 0x4010;
const ELF_MIPS = 8;

/** A file of fixed size, a multiple of 4 KiB. @throws Error */
export function fileFlash(path: string): LinuxFlash {
  const fd = openFile(path, os.O_RDWR | syncFlag());
  const flashBytes = sizeOf(fd, path);
  const blank = new Uint8Array(FILE_ERASE_BYTES).fill(0xff);
  const flash = transfers(fd, path);
  return {
    ...flash,
    flashBytes,
    eraseBytes: FILE_ERASE_BYTES,
    writeAlign: 1,
    flashErase: (offset) => flash.flashProgram(offset, blank),
  };
}

/** @throws Error when it is no NOR flash, or its blocks differ in size. */
export function mtdFlash(path: string, { sysfs, eraser }: MtdOptions): LinuxFlash {
  const folder = `${sysfs}/${path.slice(path.lastIndexOf('/') + 1)}`;
  const about = (name: string): string => {
    const text = std.loadFile(`${folder}/${name}`);
    if (text === null) throw new Error(`cannot read ${folder}/${name}`);
    return text.trim();
  };
  const type = about('type');
  if (!NOR_TYPES.includes(type))
    throw new Error(`expected flash of type ${NOR_TYPES.join(', ')}, got ${type}: ${path}`);
  if (Number(about('numeraseregions')) > 1) throw new Error(`expected erase blocks of one size: ${path}`);
  const [flashBytes, eraseBytes, writeAlign] = ['size', 'erasesize', 'writesize'].map((name) => countOf(about(name)));
  const flash = transfers(openFile(path, os.O_RDWR), path);
  const block = new Uint8Array(eraseBytes!);
  return {
    ...flash,
    flashBytes: flashBytes!,
    eraseBytes: eraseBytes!,
    writeAlign: writeAlign!,
    flashErase(offset) {
      const code = os.exec([eraser, '-q', path, `${offset}`, '1']);
      if (code !== 0) throw new Error(`${eraser} of ${path} at ${offset}: exit code ${code}`);
      // flash_erase ends well also when a block was not erased.
      flash.flashRead(offset, block);
      if (!block.every((byte) => byte === 0xff)) throw new Error(`${path} at ${offset} does not read as erased`);
    },
  };
}

function transfers(fd: number, path: string): Pick<LinuxFlash, 'flashRead' | 'flashProgram'> {
  const all = (move: typeof os.read, offset: number, bytes: Uint8Array): void => {
    if (os.seek(fd, offset, os.SEEK_SET) !== offset) throw new Error(`${path}: cannot go to ${offset}`);
    for (let done = 0; done < bytes.length; ) {
      const count = move(fd, bytes.buffer, bytes.byteOffset + done, bytes.length - done);
      if (count <= 0) throw new Error(`${path}: moved ${done} of ${bytes.length} bytes at ${offset}, then ${count}`);
      done += count;
    }
  };
  return {
    flashRead: (offset, into) => all(os.read, offset, into),
    flashProgram: (offset, bytes) => all(os.write, offset, bytes),
  };
}

export function openFile(path: string, flags: number): number {
  const fd = os.open(path, flags);
  if (fd < 0) throw new Error(`cannot open ${path}: error ${-fd}`);
  return fd;
}

/** QuickJS tells no file's size but by its end. */
function sizeOf(fd: number, path: string): number {
  const SEEK_END = 2;
  const size = os.seek(fd, 0, SEEK_END);
  if (size <= 0 || size % FILE_ERASE_BYTES !== 0)
    throw new Error(`${path}: expected a multiple of ${FILE_ERASE_BYTES} bytes, got ${size}`);
  return size;
}

/** The flag's value is the one constant here in which Linux differs by machine: this process's own ELF header names it. */
function syncFlag(): number {
  const head = new Uint8Array(20);
  transfers(openFile('/proc/self/exe', 0), '/proc/self/exe').flashRead(0, head);
  const isLittleEndian = head[5] === 1;
  return head[isLittleEndian ? 18 : 19] === ELF_MIPS ? O_SYNC_MIPS : O_SYNC;
}

function countOf(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`expected a count, got ${text}`);
  return value;
}
