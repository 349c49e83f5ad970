/**
 * A folder whose power is cut at any changing call of node:fs. Unlike after a kill, what was not synced may be lost: contents of
 * files since their last fsync, and names made, moved or removed since the folder's last fsync, in any combination. From the
 * cut on every changing call throws, so that no `finally` tidies up what a dead device would not.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { PowerCut } from './nor-flash.js';
import { Prng } from './prng.js';

/** `kept`: nothing. `all`: everything unsynced. `data`, `names`: only that. `some`: each by a coin of the seed. */
export const LOSSES = ['kept', 'all', 'data', 'names', 'some'] as const;
export type Loss = (typeof LOSSES)[number];

export interface FolderCut {
  /** Which changing call; Infinity cuts nothing. */
  readonly call: number;
  readonly kind: 'before' | 'after' | 'torn';
  readonly loss: Loss;
  readonly seed: number;
}

export interface FolderRun {
  /** Names of the changing calls in order, the cut one included. */
  readonly calls: readonly string[];
  readonly fired: boolean;
}

/** A file or a link, whatever its names. */
interface Entry {
  durable: Uint8Array;
  readonly link: string | null;
}

type Names = Map<string, Entry>;
type Call = (...args: unknown[]) => unknown;
const NOTHING = new Uint8Array(0);

/** Runs `work`, which changes only files directly in `folder`, into the cut, and leaves in the folder what survives it. */
export function runIntoCut(folder: string, work: () => void, cut: FolderCut): FolderRun {
  const disk = new Disk(folder);
  const calls: string[] = [];
  const real: Record<string, Call> = {};
  const patched = fs as unknown as Record<string, Call>;
  let dead = false;
  const wrapped =
    (name: string, track: (args: unknown[], result: unknown) => void): Call =>
    (...args) => {
      if (dead) throw new PowerCut('no power');
      const now = calls.push(name) - 1 === cut.call;
      dead = now;
      if (now && cut.kind === 'before') throw new PowerCut(name);
      if (now && cut.kind === 'torn') args[3] = Number(args[3]) >> 1;
      try {
        const result = real[name]!(...args);
        track(args, result);
        return result;
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: a device that loses power never sees the error of the call.
        if (now) throw new PowerCut(name);
      }
    };
  for (const [name, track] of Object.entries(disk.tracked)) {
    real[name] = patched[name]!;
    patched[name] = wrapped(name, track);
  }
  syncBuiltinESMExports();
  try {
    work();
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
  } finally {
    Object.assign(fs, real);
    syncBuiltinESMExports();
    if (dead) disk.closeAll();
  }
  if (dead) disk.lose(cut.loss, new Prng(cut.seed));
  return { calls, fired: dead };
}

class Disk {
  private readonly folder: string;
  private readonly now: Names;
  private durable: Names;
  /** Changes of names since the folder was synced, each of them atomic. */
  private pending: ((names: Names) => void)[] = [];
  private readonly open = new Map<number, Entry | null>();

  constructor(folder: string) {
    this.folder = folder;
    const names = fs.readdirSync(folder).map((name): [string, Entry] => [name, entryAt(join(folder, name))]);
    this.now = new Map(names);
    this.durable = new Map(names);
  }

  /** Every changing call that the store makes; what else it may call is not cut. */
  get tracked(): Record<string, (args: unknown[], result: unknown) => void> {
    return {
      openSync: ([path], fd) => void this.open.set(Number(fd), this.opened(String(path))),
      writeFileSync: ([path]) => void this.opened(String(path)),
      writeSync: () => {},
      ftruncateSync: () => {},
      fsyncSync: ([fd]) => this.synced(this.open.get(Number(fd))),
      closeSync: ([fd]) => void this.open.delete(Number(fd)),
      renameSync: ([from, to]) => this.move(String(from), String(to), true),
      linkSync: ([from, to]) => this.move(String(from), String(to), false),
      symlinkSync: ([target, path]) => this.add(basename(String(path)), { durable: NOTHING, link: String(target) }),
      unlinkSync: ([path]) => this.change((names) => void names.delete(basename(String(path)))),
    };
  }

  closeAll(): void {
    for (const fd of this.open.keys()) fs.closeSync(fd);
  }

  /** Puts into the folder what is left of it. */
  lose(loss: Loss, random: Prng): void {
    const contents = new Map<Entry, Uint8Array>();
    for (const [name, entry] of this.now) if (entry.link === null) contents.set(entry, this.read(name));
    const keeps = (what: 'data' | 'names'): boolean =>
      loss === 'some' ? random.below(2) === 0 : loss === 'kept' || (loss !== 'all' && loss !== what);
    const left = new Map(this.durable);
    for (const change of this.pending) if (keeps('names')) change(left);
    for (const name of this.now.keys()) fs.unlinkSync(join(this.folder, name));
    for (const [name, entry] of left) {
      const path = join(this.folder, name);
      if (entry.link !== null) fs.symlinkSync(entry.link, path);
      else fs.writeFileSync(path, keeps('data') ? (contents.get(entry) ?? entry.durable) : entry.durable);
    }
  }

  private opened(path: string): Entry | null {
    if (dirname(path) !== this.folder) return null;
    const name = basename(path);
    const known = this.now.get(name);
    if (known !== undefined) return known;
    const entry = { durable: NOTHING, link: null };
    this.add(name, entry);
    return entry;
  }

  /** `null` is the folder itself. */
  private synced(entry: Entry | null | undefined): void {
    if (entry === null) {
      this.durable = new Map(this.now);
      this.pending = [];
      return;
    }
    const found = [...this.now].find(([, each]) => each === entry);
    if (entry !== undefined && found !== undefined) entry.durable = this.read(found[0]);
  }

  private move(from: string, to: string, removes: boolean): void {
    const entry = this.now.get(basename(from));
    if (entry === undefined) throw new Error(`${from} is not in the folder`);
    this.change((names) => {
      if (removes) names.delete(basename(from));
      names.set(basename(to), entry);
    });
  }

  private add(name: string, entry: Entry): void {
    this.change((names) => void names.set(name, entry));
  }

  private change(how: (names: Names) => void): void {
    how(this.now);
    this.pending.push(how);
  }

  private read(name: string): Uint8Array {
    return fs.readFileSync(join(this.folder, name));
  }
}

function entryAt(path: string): Entry {
  return fs.lstatSync(path).isSymbolicLink()
    ? { durable: NOTHING, link: fs.readlinkSync(path) }
    : { durable: fs.readFileSync(path), link: null };
}
