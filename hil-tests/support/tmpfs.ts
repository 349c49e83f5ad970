/** A small file system of a test's own, on machines where the test may mount one. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Tmpfs {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Reason of a test that skips itself; false where file systems can be mounted. */
  static missing(): string | false {
    const made = Tmpfs.mount(1 << 20);
    made?.unmount();
    return made === null && 'needs root, to mount a tmpfs';
  }

  static mount(bytes: number): Tmpfs | null {
    const path = mkdtempSync(join(tmpdir(), 'mallorn-tmpfs-'));
    if (run('mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path)) return new Tmpfs(path);
    rmdirSync(path);
    return null;
  }

  /** Fills it with a file until `left` bytes are free. */
  fill(left: number): void {
    const { bavail, bsize } = statfsSync(this.path);
    writeFileSync(join(this.path, 'filler'), new Uint8Array(bavail * bsize - left));
  }

  /** Fails while a file on it is open for writing. */
  remount(mode: 'ro' | 'rw'): void {
    if (!run('mount', '-o', `remount,${mode}`, this.path)) throw new Error(`cannot remount ${this.path} ${mode}`);
  }

  unmount(): void {
    run('umount', '-l', this.path);
    rmdirSync(this.path);
  }
}

function run(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}
