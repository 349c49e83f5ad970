/** File adapters of targets/node beyond their ports' contracts: atomic replacement, failures of the file system, special files. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { IoError } from '../core/errors.js';
import { TempOutput, withTempOutput, writeFileAtomic } from '../targets/node/atomic-file.js';
import { FileFlash } from '../targets/node/file-flash.js';
import { FileSource } from '../targets/node/file-source.js';
import { readRange } from './contracts/byte-source-contract.js';
import { readBack } from './contracts/flash-contract.js';
import { patternBytes } from './contracts/test-bytes.js';
import { type KillKind, runKilled } from './killable-fs.js';

const root = mkdtempSync(join(tmpdir(), 'mallorn-files-'));
after(() => rmSync(root, { recursive: true }));

let folders = 0;
function freshFolder(): string {
  const folder = join(root, `${folders++}`);
  mkdirSync(folder);
  return folder;
}

const hasDevFull = existsSync('/dev/full');
const fifoSkip = process.platform === 'win32' && 'no FIFOs';

describe('FileSource', () => {
  test('names the path and keeps the cause', () => {
    const path = join(freshFolder(), 'model');
    assert.throws(() => new FileSource(path), isIoError('ENOENT', path));
    writeFileSync(path, '');
    assert.throws(() => new FileSource(join(path, 'below')), isIoError('ENOTDIR', path));
  });

  test('refuses a folder and a FIFO, the latter without waiting for a writer', { skip: fifoSkip }, () => {
    const folder = freshFolder();
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    assert.throws(() => new FileSource(join(folder, 'pipe')), { name: 'IoError', message: /expected a regular file/ });
    assert.throws(() => new FileSource(folder), { name: 'IoError', message: /expected a regular file/ });
  });

  test('follows a link to a model, unless told not to', () => {
    const folder = freshFolder();
    writeFileSync(join(folder, 'model'), 'bytes');
    symlinkSync('model', join(folder, 'link'));
    const source = new FileSource(join(folder, 'link'));
    assert.equal(source.size, 5);
    source.close();
    source.close();
    assert.throws(() => source.read(0, new Uint8Array(1)), /read while open/);
    assert.throws(() => new FileSource(join(folder, 'link'), { noFollow: true }), isIoError('ELOOP', 'link'));
  });

  test('reports a file that shrank under it', () => {
    const path = join(freshFolder(), 'model');
    writeFileSync(path, patternBytes(100));
    const source = new FileSource(path);
    truncateSync(path, 50);
    assert.throws(() => source.read(40, new Uint8Array(20)), { name: 'IoError', message: /got 10; the file shrank/ });
    source.close();
  });

  test('a read that failed leaves nothing of itself to later ones', () => {
    const path = join(freshFolder(), 'model');
    const bytes = patternBytes(100_000);
    writeFileSync(path, bytes);
    const source = new FileSource(path);
    assert.deepEqual(readRange(source, 0, 10), bytes.slice(0, 10));
    truncateSync(path, 50_000);
    assert.throws(() => source.read(49_000, new Uint8Array(10)), { message: /the file shrank/ });
    assert.deepEqual(readRange(source, 0, 10), bytes.slice(0, 10));
    source.close();
  });

  test('reads runs of any length at any place of a file larger than it holds', () => {
    const path = join(freshFolder(), 'model');
    const bytes = patternBytes(200_000);
    writeFileSync(path, bytes);
    const source = new FileSource(path);
    let at = 1;
    for (let i = 0; i < 3000; i++) {
      at = (at * 48271) % 0x7fffffff;
      const length = [1, 7, 300, 32767, 32768, 70_000][i % 6]!;
      // Every other read is near the one before.
      const offset = i % 2 === 0 ? at % (bytes.length - length) : Math.max(0, bytes.length - length - (at % 40_000));
      assert.deepEqual(
        readRange(source, offset, length),
        bytes.slice(offset, offset + length),
        `${length} at ${offset}`,
      );
    }
    source.close();
  });

  test('stays as large as it was when the file grows', () => {
    const path = join(freshFolder(), 'model');
    writeFileSync(path, patternBytes(100));
    const source = new FileSource(path);
    writeFileSync(path, patternBytes(200));
    assert.throws(() => source.read(100, new Uint8Array(1)), { name: 'IoError', message: /within 100 bytes/ });
    source.close();
  });
});

describe('FileFlash', () => {
  test('eager: a new file reads as erased, a lazy one stays empty until it is written', () => {
    const folder = freshFolder();
    for (const erase of ['eager', 'lazy'] as const) {
      const path = join(folder, erase);
      const flash = FileFlash.open(path, { size: 1000, blockLength: 256, erase });
      assert.equal(flash.status().size, 1024);
      assert.ok(readBack(flash, 0, 1024).every((byte) => byte === 0xff));
      assert.equal(statSync(path).size, erase === 'eager' ? 1024 : 0);
      flash.close();
    }
  });

  test('eager: a file that a crash left short is filled up without touching what is there', () => {
    const path = join(freshFolder(), 'journal');
    writeFileSync(path, patternBytes(300));
    const flash = FileFlash.open(path, { size: 1024, blockLength: 256, erase: 'eager' });
    assert.deepEqual(readBack(flash, 0, 300), patternBytes(300));
    assert.ok(readBack(flash, 300, 724).every((byte) => byte === 0xff));
    flash.close();
  });

  test('lazy: keeps the bytes it finds and does not write on an erase', () => {
    const path = join(freshFolder(), 'slot');
    writeFileSync(path, patternBytes(1024));
    const flash = FileFlash.open(path, { size: 1024, blockLength: 256, erase: 'lazy' });
    flash.eraseBlock(0);
    flash.close();
    assert.deepEqual(new Uint8Array(readFileSync(path)), patternBytes(1024));
  });

  test('truncates to the byte and reports its length', () => {
    const path = join(freshFolder(), 'slot');
    const flash = FileFlash.open(path, { size: 1024, blockLength: 256, erase: 'lazy' });
    flash.program(0, patternBytes(512));
    assert.equal(flash.length(), 512);
    flash.truncate(301);
    assert.equal(flash.length(), 301);
    flash.close();
    assert.equal(statSync(path).size, 301);
  });

  test('holds an empty model', () => {
    const flash = FileFlash.open(join(freshFolder(), 'slot'), { size: 0, erase: 'lazy' });
    assert.deepEqual([flash.status().size, flash.status().blocks], [0, 0]);
    flash.sync();
    flash.close();
  });

  test('says that the disk is full', { skip: !hasDevFull && 'needs /dev/full' }, () => {
    const flash = new FileFlash(openSync('/dev/full', 'r+'), '/slots/b.model', {
      size: 256,
      blockLength: 256,
      erase: 'lazy',
    });
    assert.throws(() => flash.program(0, patternBytes(16)), isIoError('ENOSPC', 'cannot write /slots/b.model'));
    flash.close();
  });

  test('refuses links, folders and special files, and writes after it was closed', () => {
    const folder = freshFolder();
    writeFileSync(join(folder, 'precious'), 'precious');
    symlinkSync('precious', join(folder, 'link'));
    const options = { size: 256, blockLength: 256, erase: 'eager' } as const;
    assert.throws(() => FileFlash.open(join(folder, 'link'), options), isIoError('ELOOP', 'link'));
    assert.equal(readFileSync(join(folder, 'precious'), 'utf8'), 'precious');
    assert.throws(() => FileFlash.open(folder, options), isIoError('EISDIR', folder));
    if (hasDevFull) assert.throws(() => FileFlash.open('/dev/full', options), IoError);
    const flash = FileFlash.open(join(folder, 'flash'), options);
    flash.close();
    flash.close();
    for (const use of [() => flash.sync(), () => flash.eraseBlock(0), () => flash.program(0, new Uint8Array(1))]) {
      assert.throws(use, /used while open/);
    }
  });
});

describe('writeFileAtomic', () => {
  test('creates, replaces and sets the mode', () => {
    const path = join(freshFolder(), 'state.json');
    writeFileAtomic(path, patternBytes(10), 0o600);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    writeFileAtomic(path, patternBytes(20));
    assert.deepEqual(new Uint8Array(readFileSync(path)), patternBytes(20));
  });

  test('a kill at any file system call leaves the old or the new file, whole', () => {
    const folder = freshFolder();
    const path = join(folder, 'file');
    const [old, fresh] = [patternBytes(100, 1), patternBytes(200, 2)];
    const write = (): void => writeFileAtomic(path, fresh);
    const { calls } = runKilled(write, Number.POSITIVE_INFINITY);
    const kinds: KillKind[] = ['before', 'torn', 'after'];
    for (const index of calls.keys()) {
      for (const kind of kinds) {
        writeFileSync(path, old);
        assert.ok(runKilled(write, index, kind).fired);
        const held = new Uint8Array(readFileSync(path));
        assert.deepEqual(held, held.length === 100 ? old : fresh, `${kind} ${calls[index]}`);
      }
    }
  });

  test('syncs the file before and the folder after the rename', () => {
    const { calls } = runKilled(
      () => writeFileAtomic(join(freshFolder(), 'file'), patternBytes(5)),
      Number.POSITIVE_INFINITY,
    );
    const rename = calls.indexOf('renameSync');
    assert.ok(calls.indexOf('writeSync') < calls.indexOf('fsyncSync') && calls.indexOf('fsyncSync') < rename);
    assert.ok(calls.lastIndexOf('fsyncSync') > rename);
  });

  test('failing leaves the old file and nothing else', () => {
    const folder = freshFolder();
    mkdirSync(join(folder, 'taken'));
    assert.throws(() => writeFileAtomic(join(folder, 'taken'), patternBytes(5)), {
      name: 'IoError',
      message: /regular file/,
    });
    assert.throws(() => writeFileAtomic(join(folder, 'no', 'such'), patternBytes(5)), isIoError('ENOENT', 'such'));
    assert.deepEqual(readdirSync(folder), ['taken']);
  });

  test('never replaces a device', { skip: !hasDevFull && 'needs /dev/full' }, () => {
    assert.throws(() => writeFileAtomic('/dev/full', patternBytes(5)), { name: 'IoError', message: /regular file/ });
    assert.ok(statSync('/dev/full').isCharacterDevice());
  });
});

describe('TempOutput', () => {
  test('appears on commit, filled through a FileFlash', () => {
    const folder = freshFolder();
    const path = join(folder, 'out');
    const result = withTempOutput(path, (output) => {
      const flash = new FileFlash(output.fd, output.tempPath, { size: 300, blockLength: 256, erase: 'lazy' });
      flash.program(0, patternBytes(512));
      flash.truncate(300);
      assert.ok(!existsSync(path));
      return 'done';
    });
    assert.equal(result, 'done');
    assert.deepEqual(new Uint8Array(readFileSync(path)), patternBytes(512).slice(0, 300));
    assert.deepEqual(readdirSync(folder), ['out']);
  });

  test('leaves nothing behind when the caller throws, and an older output as it was', () => {
    const folder = freshFolder();
    const path = join(folder, 'out');
    writeFileSync(path, 'old');
    const fail = (): never => {
      throw new RangeError('the patch is bad');
    };
    assert.throws(() => withTempOutput(path, fail), { name: 'RangeError', message: 'the patch is bad' });
    assert.deepEqual(readdirSync(folder), ['out']);
    assert.equal(readFileSync(path, 'utf8'), 'old');
  });

  test('leaves nothing behind when the rename fails', () => {
    const folder = freshFolder();
    const path = join(folder, 'out');
    const output = new TempOutput(path);
    mkdirSync(path);
    assert.throws(() => output.commit(), isIoError('EISDIR', path));
    output.discard();
    assert.deepEqual(readdirSync(folder), ['out']);
  });

  test('discard does nothing after a commit and may be called again', () => {
    const path = join(freshFolder(), 'out');
    const output = new TempOutput(path);
    output.commit();
    output.discard();
    output.discard();
    assert.ok(existsSync(path));
  });
});

function isIoError(code: string, text: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof IoError, `expected IoError, got ${error}`);
    assert.ok(error.message.includes(text) && error.message.includes(code), error.message);
    assert.equal((error.cause as NodeJS.ErrnoException).code, code);
    return true;
  };
}
