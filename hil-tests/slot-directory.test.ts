/** The slot directory beyond its port's contract: kills at every file system call, damage, locks, readers of `current`. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { equalBytes } from '../core/bytes.js';
import { IoError } from '../core/errors.js';
import { removeFile } from '../targets/node/atomic-file.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { activeBytes, contentsOf, update } from './contracts/slot-store-contract.js';
import { patternBytes } from './contracts/test-bytes.js';
import { type KillKind, runKilled } from './killable-fs.js';

const root = mkdtempSync(join(tmpdir(), 'mallorn-slots-'));
after(() => rmSync(root, { recursive: true }));

const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** The identity of a process of an earlier boot. */
const DEAD_HOLDER = '1 1 000000000000 4026531836';
const BOOT = existsSync(BOOT_ID) ? readFileSync(BOOT_ID, 'utf8').replaceAll('-', '').slice(0, 12) : '';
const NAMESPACE = BOOT === '' ? '' : (/\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '');
const NEEDS_PROC = { skip: BOOT === '' && 'needs /proc' };
/** `--kill-child`: what runs in the namespace ends with unshare itself. */
const UNSHARE = ['--pid', '--fork', '--mount-proc', '--kill-child'];
const OPTIONS = { blockLength: 4096, journalBlockLength: 512, journalBlocks: 2 };
const MODELS = [0, 1, 2, 3].map((salt) => patternBytes(9000 + 500 * salt, salt));

let folders = 0;
function freshFolder(): string {
  const folder = join(root, `${folders++}`);
  mkdirSync(folder);
  return folder;
}

describe('a model on trial in a slot directory', () => {
  const commitOnTrial = (store: SlotDirectory, model: Uint8Array): void => {
    const flash = store.openInactive(model.length);
    flash.program(0, model);
    flash.sync();
    store.commit(contentsOf(model, 2), 0, true);
  };

  test('keeps the way back until it is confirmed, over every start', () => {
    const folder = freshFolder();
    withStore(folder, (store) => {
      store.install(MODELS[0]!);
      commitOnTrial(store, MODELS[1]!);
      assert.throws(() => store.openInactive(10), /on trial/);
    });
    withStore(folder, (store) => {
      store.countTrialBoot();
      assert.deepEqual(store.trial(), { boots: 1 });
      store.rollback();
      assert.deepEqual(activeBytes(store), MODELS[0]!);
      assert.equal(store.trial(), null);
    });
    withStore(folder, (store) => {
      commitOnTrial(store, MODELS[2]!);
      store.confirm();
      store.countTrialBoot();
      assert.equal(store.trial(), null);
      store.openInactive(10);
    });
  });

  test('the first model is never on trial', () => {
    withStore(freshFolder(), (store) => {
      commitOnTrial(store, MODELS[0]!);
      assert.equal(store.trial(), null);
    });
  });
});

function withStore<T>(folder: string, use: (store: SlotDirectory) => T): T {
  const store = SlotDirectory.open(folder, OPTIONS);
  try {
    return use(store);
  } finally {
    store.close();
  }
}

/** A folder in which `updates` models were made active one after the other, with counters and floors 1, 2, ... */
function folderWith(updates: number): string {
  const folder = freshFolder();
  withStore(folder, (store) => {
    for (let i = 0; i < updates; i++) update(store, MODELS[i]!, i + 1, i + 1);
  });
  return folder;
}

/** An update as the applier does it, its journal included. */
function journaledUpdate(store: SlotDirectory, model: Uint8Array, counter: number): void {
  const journal = store.journal();
  const flash = store.openInactive(model.length);
  journal.eraseBlock(0);
  journal.program(0, patternBytes(64, counter));
  journal.sync();
  update(store, model, counter, counter);
  assert.equal(flash.status().blockLength, 4096);
}

interface Scenario {
  readonly name: string;
  readonly start: () => string;
  readonly run: (store: SlotDirectory) => void;
  readonly before: number | null;
  readonly after: number;
}

/** `before` and `after` are indices of MODELS. */
const SCENARIOS: readonly Scenario[] = [
  { name: 'install', start: freshFolder, run: (store) => void store.install(MODELS[0]!, 1), before: null, after: 0 },
  {
    name: 'first update',
    start: freshFolder,
    run: (store) => journaledUpdate(store, MODELS[0]!, 1),
    before: null,
    after: 0,
  },
  {
    name: 'second update',
    start: () => folderWith(1),
    run: (store) => journaledUpdate(store, MODELS[1]!, 2),
    before: 0,
    after: 1,
  },
  {
    name: 'update over a previous model',
    start: () => folderWith(2),
    run: (store) => journaledUpdate(store, MODELS[2]!, 3),
    before: 1,
    after: 2,
  },
  { name: 'rollback', start: () => folderWith(2), run: (store) => store.rollback(), before: 1, after: 0 },
  { name: 'giving up', start: () => folderWith(2), run: (store) => store.dropPrevious(), before: 1, after: 1 },
];

for (const scenario of SCENARIOS) {
  test(`${scenario.name}: a kill at any file system call leaves a whole old or new model, and it can be finished`, () => {
    const template = scenario.start();
    const rehearsal = freshCopy(template);
    const { calls } = runKilled(() => withStore(rehearsal, scenario.run), Number.POSITIVE_INFINITY);
    assert.ok(calls.length > 10, `expected many calls, got ${calls.length}`);
    for (const [index, name] of calls.entries()) {
      const kinds: KillKind[] = name === 'writeSync' ? ['before', 'torn', 'after'] : ['before', 'after'];
      for (const kind of kinds) killOnce(scenario, template, index, kind);
    }
  });
}

function freshCopy(template: string): string {
  const folder = freshFolder();
  cpSync(template, folder, { recursive: true, verbatimSymlinks: true });
  return folder;
}

function killOnce(scenario: Scenario, template: string, index: number, kind: KillKind): void {
  const at = `${scenario.name}, ${kind} call ${index}`;
  const folder = freshCopy(template);
  const readers = ['a.model', 'b.model']
    .filter((name) => existsSync(join(folder, name)))
    .map((name) => holdOpen(join(folder, name)));
  const { fired } = runKilled(() => withStore(folder, scenario.run), index, kind);
  assert.ok(fired, `${at}: fired`);
  assertServedWhole(scenario, folder, at);
  if (existsSync(join(folder, 'current'))) readers.push(holdOpen(join(folder, 'current')));
  if (removeFile(join(folder, 'lock'))) symlinkSync(DEAD_HOLDER, join(folder, 'lock'));
  const finished = withStore(folder, (store) => assertConsistent(scenario, store, at));
  if (!finished) {
    if (scenario.name !== 'rollback') withStore(folder, beginAnother);
    withStore(folder, scenario.run);
  }
  withStore(folder, (store) => {
    assert.ok(equalBytes(activeBytes(store), MODELS[scenario.after]!), `${at}: finished`);
    assert.ok(equalBytes(readFileSync(store.currentPath), MODELS[scenario.after]!), `${at}: current follows`);
  });
  for (const { fd, content } of readers) {
    assert.ok(equalBytes(readOpen(fd), content), `${at}: a file that a model server has open keeps its model`);
    closeSync(fd);
  }
  const left = readdirSync(folder).filter((name) => name.startsWith('.'));
  assert.deepEqual(left, [], `${at}: temporary files`);
  rmSync(folder, { recursive: true });
}

/** Another update takes the place of the interrupted one and is itself interrupted. */
function beginAnother(store: SlotDirectory): void {
  store.openInactive(MODELS[3]!.length).program(0, MODELS[3]!);
}

/** What a model server sees while the agent is dead and nobody has repaired anything. */
function assertServedWhole(scenario: Scenario, folder: string, at: string): void {
  const current = join(folder, 'current');
  if (!existsSync(current)) {
    assert.equal(scenario.before, null, `${at}: current is gone`);
    return;
  }
  const served = readFileSync(current);
  const whole = [scenario.before, scenario.after].some((i) => i !== null && equalBytes(served, MODELS[i]!));
  assert.ok(whole, `${at}: current is neither the old nor the new model`);
}

/** Whether the new model is active; everything else the store says must fit that. */
function assertConsistent(scenario: Scenario, store: SlotDirectory, at: string): boolean {
  const active = store.active();
  const index = active === null ? null : active.counter - 1;
  assert.ok(index === scenario.before || index === scenario.after, `${at}: active is ${index}`);
  if (index !== null) assert.ok(equalBytes(activeBytes(store), MODELS[index]!), `${at}: active bytes`);
  if (index !== null) {
    const journal = readlinkSync(store.currentPath).replace('model', 'journal');
    assert.ok(!existsSync(join(store.folder, journal)), `${at}: a whole slot has no journal`);
  }
  const previous = store.previous();
  if (previous !== null) {
    const path = join(store.folder, readlinkSync(store.currentPath) === 'a.model' ? 'b.model' : 'a.model');
    const bytes = readFileSync(path);
    assert.deepEqual(contentsOf(bytes, previous.counter), previous, `${at}: previous is whole`);
  }
  // 'install' sets no floor, a rollback keeps it, an update raises it together with the switch.
  const floors = scenario.name === 'install' ? [0] : scenario.name === 'rollback' ? [2] : [(index ?? -1) + 1];
  assert.ok(floors.includes(store.counterFloor()), `${at}: floor ${store.counterFloor()}`);
  return index === scenario.after;
}

function holdOpen(path: string): { readonly fd: number; readonly content: Uint8Array } {
  return { fd: openSync(path, 'r'), content: readFileSync(path) };
}

function readOpen(fd: number): Uint8Array {
  const bytes = new Uint8Array(20_000);
  return bytes.slice(0, readSync(fd, bytes, 0, bytes.length, 0));
}

describe('SlotDirectory', () => {
  test('installs from a path and from bytes, once', () => {
    const path = join(freshFolder(), 'factory.tflite');
    writeFileSync(path, MODELS[1]!);
    withStore(freshFolder(), (store) => {
      assert.deepEqual(store.install(path, 4), contentsOf(MODELS[1]!, 4));
      assert.ok(equalBytes(activeBytes(store), MODELS[1]!));
      assert.throws(() => store.install(MODELS[0]!), /already an active model/);
    });
    withStore(freshFolder(), (store) => {
      store.install(MODELS[0]!);
      assert.deepEqual(store.active(), contentsOf(MODELS[0]!, 0));
    });
  });

  test('an install that fails leaves nothing', () => {
    const folder = freshFolder();
    withStore(folder, (store) => assert.throws(() => store.install(join(root, 'missing')), IoError));
    assert.deepEqual(readdirSync(folder), ['state.json']);
  });

  test('trims the padding after the last byte of a model', () => {
    const folder = folderWith(1);
    withStore(folder, (store) => {
      const flash = store.openInactive(100);
      flash.program(0, patternBytes(4096));
      const model = patternBytes(4096).slice(0, 100);
      store.commit(contentsOf(model, 2), 0);
      assert.equal(statSync(store.currentPath).size, 100);
      assert.ok(equalBytes(activeBytes(store), model));
    });
  });

  test('refuses to commit a file that is too short and stays with the old model', () => {
    withStore(folderWith(1), (store) => {
      store.openInactive(9000).program(0, patternBytes(4096));
      assert.throws(() => store.commit(contentsOf(patternBytes(9000), 2), 2), /expected 9000 bytes, got 4096/);
      assert.ok(equalBytes(activeBytes(store), MODELS[0]!));
      assert.equal(store.counterFloor(), 1);
    });
  });

  test('a late write through a closed slot is an error, not a write into another file', () => {
    withStore(folderWith(1), (store) => {
      const flash = store.openInactive(5);
      flash.program(0, MODELS[1]!.subarray(0, 5));
      store.commit(contentsOf(MODELS[1]!.slice(0, 5), 2), 0);
      assert.throws(() => flash.program(0, new Uint8Array(5)), /used while open/);
    });
  });

  for (const [damage, text] of [
    ['empty', ''],
    ['not JSON', '{"version": 1,'],
    ['another version', stateText({ version: 2 })],
    ['an unknown key', stateText({ extra: 1 })],
    ['an active slot that holds nothing', stateText({ active: 'b' })],
    ['a negative size', stateText({ slots: { a: { size: -1, sha256: '0'.repeat(64), counter: 0 }, b: null } })],
    ['a short hash', stateText({ slots: { a: { size: 1, sha256: '00', counter: 0 }, b: null } })],
    ['an unsafe counter', stateText({ counterFloor: 2 ** 60 })],
    ['megabytes of anything', ' '.repeat(1 << 20)],
  ] as const) {
    test(`reports a state.json that is damaged (${damage}) and leaves it alone`, () => {
      const folder = folderWith(2);
      writeFileSync(join(folder, 'state.json'), text);
      assert.throws(() => SlotDirectory.open(folder), { name: 'IoError', message: /state\.json is damaged/ });
      assert.equal(readFileSync(join(folder, 'state.json'), 'utf8'), text);
      assert.ok(!readdirSync(folder).includes('lock'), 'a failed open releases the lock');
    });
  }

  test('reports a missing state.json beside slot files instead of starting anew', () => {
    const folder = folderWith(1);
    unlinkSync(join(folder, 'state.json'));
    assert.throws(() => SlotDirectory.open(folder), { name: 'IoError', message: /state\.json is missing, but/ });
  });

  test('reports an active model that is missing or cut short', () => {
    const folder = folderWith(1);
    truncateSync(join(folder, 'a.model'), 10);
    assert.throws(() => SlotDirectory.open(folder), { name: 'IoError', message: /expected 9000 bytes, got 10/ });
    unlinkSync(join(folder, 'a.model'));
    assert.throws(() => SlotDirectory.open(folder), { name: 'IoError', message: /got no file/ });
  });

  test('does not offer a previous model that was cut short', () => {
    const folder = folderWith(2);
    truncateSync(join(folder, 'a.model'), 10);
    withStore(folder, (store) => {
      assert.equal(store.previous(), null);
      assert.throws(() => store.rollback(), IoError);
    });
  });

  test('gives the space of the previous model back, and says that there is none to go back to', () => {
    const folder = folderWith(2);
    withStore(folder, (store) => {
      store.dropPrevious();
      assert.equal(store.previous(), null);
      assert.deepEqual(
        readdirSync(folder).filter((name) => name.endsWith('.model')),
        ['b.model'],
      );
      assert.throws(() => store.rollback(), /there is no previous model to go back to/);
      store.dropPrevious();
      update(store, MODELS[2]!, 3);
      assert.ok(equalBytes(activeBytes(store), MODELS[2]!));
    });
  });

  test('gives up neither the way back of a model on trial nor a slot that is being written', () => {
    const folder = folderWith(1);
    withStore(folder, (store) => {
      store.openInactive(9000).program(0, patternBytes(4096));
      store.dropPrevious();
      assert.ok(existsSync(join(folder, 'b.model')));
      const flash = store.openInactive(MODELS[1]!.length);
      flash.program(0, MODELS[1]!);
      flash.sync();
      store.commit(contentsOf(MODELS[1]!, 2), 0, true);
      store.dropPrevious();
      store.rollback();
      assert.ok(equalBytes(activeBytes(store), MODELS[0]!));
    });
  });

  test('leaves others the bytes that have to stay free, before it gives anything up', () => {
    const folder = folderWith(2);
    const store = SlotDirectory.open(folder, { ...OPTIONS, minFreeBytes: 2 ** 50 });
    const expected = `expected ${2 ** 50 + 9000} bytes \\(${2 ** 50} of them to stay free\\), got \\d+`;
    assert.throws(() => store.requireRoom(9000), { name: 'IoError', message: new RegExp(expected) });
    assert.throws(() => store.openInactive(9000), { name: 'IoError', message: new RegExp(expected) });
    assert.notEqual(store.previous(), null);
    store.close();
  });

  test('drops a journal whose half-written model is gone', () => {
    const folder = folderWith(1);
    withStore(folder, (store) => {
      store.openInactive(9000).program(0, patternBytes(4096));
      store.journal().program(0, patternBytes(64));
    });
    unlinkSync(join(folder, 'b.model'));
    withStore(folder, () => assert.ok(!existsSync(join(folder, 'b.journal'))));
  });

  test('does not make a folder unless asked to', () => {
    const folder = join(root, 'new', 'nested');
    assert.throws(() => SlotDirectory.open(folder), IoError);
    assert.ok(!existsSync(folder));
    SlotDirectory.open(folder, { create: true }).close();
    assert.ok(existsSync(join(folder, 'state.json')));
    assert.throws(() => SlotDirectory.open('/proc/mallorn/slots', { create: true }), IoError);
  });

  for (const name of ['a.model', 'b.model', 'b.journal', 'state.json']) {
    test(`refuses a symbolic link in place of ${name}`, () => {
      const folder = folderWith(2);
      const elsewhere = join(freshFolder(), 'elsewhere');
      if (existsSync(join(folder, name))) renameSync(join(folder, name), elsewhere);
      else writeFileSync(elsewhere, 'precious');
      symlinkSync(elsewhere, join(folder, name));
      const held = readFileSync(elsewhere);
      assert.throws(() => SlotDirectory.open(folder), { name: 'IoError', message: /expected a regular file/ });
      assert.deepEqual(readFileSync(elsewhere), held);
    });
  }

  test('refuses a link that appears while it is open', () => {
    withStore(folderWith(1), (store) => {
      const elsewhere = join(freshFolder(), 'elsewhere');
      writeFileSync(elsewhere, 'precious');
      symlinkSync(elsewhere, join(store.folder, 'b.model'));
      assert.throws(() => store.openInactive(10), IoError);
      assert.equal(readFileSync(elsewhere, 'utf8'), 'precious');
    });
  });

  test('refuses a file of somebody else called current', () => {
    const folder = folderWith(1);
    unlinkSync(join(folder, 'current'));
    writeFileSync(join(folder, 'current'), 'precious');
    assert.throws(() => SlotDirectory.open(folder), { name: 'IoError', message: /expected a symbolic link/ });
  });

  for (const [damage, target] of [
    ['points to the other slot', 'a.model'],
    ['points elsewhere', '/etc/passwd'],
    ['is missing', null],
  ] as const) {
    test(`repairs current when it ${damage}`, () => {
      const folder = folderWith(2);
      unlinkSync(join(folder, 'current'));
      if (target !== null) symlinkSync(target, join(folder, 'current'));
      withStore(folder, () => undefined);
      assert.equal(readlinkSync(join(folder, 'current')), 'b.model');
    });
  }
});

describe('the lock of a slot directory', () => {
  test('keeps a second owner out, also in the same process, until it is released', () => {
    const folder = freshFolder();
    const store = SlotDirectory.open(folder);
    assert.throws(() => SlotDirectory.open(folder), { name: 'IoError', message: /in use by process/ });
    store.close();
    SlotDirectory.open(folder).close();
    assert.ok(!readdirSync(folder).includes('lock'));
  });

  test('lets another thread of its process share it, and nobody without it', () => {
    const folder = folderWith(1);
    assert.throws(() => SlotDirectory.open(folder, { lock: 'held' }), IoError);
    withStore(folder, (store) => {
      const other = SlotDirectory.open(folder, { lock: 'held' });
      update(other, MODELS[1]!, 2);
      other.close();
      assert.ok(equalBytes(activeBytes(store), MODELS[1]!));
    });
    assert.ok(!readdirSync(folder).includes('lock'));
  });

  test('is respected across processes', () => {
    const folder = freshFolder();
    const store = SlotDirectory.open(folder);
    assert.match(openInChild(folder), /in use by process/);
    store.close();
    assert.match(openInChild(folder), /opened/);
  });

  for (const [what, holder] of [
    ['a process of an earlier boot', DEAD_HOLDER],
    ['a process that is gone', `4194304 1 ${BOOT} ${NAMESPACE}`],
    ['a process whose id now belongs to another', `${process.pid} 1 ${BOOT} ${NAMESPACE}`],
    ['what no process of ours made', 'elsewhere'],
  ] as const) {
    test(`is taken over from ${what}`, NEEDS_PROC, () => {
      const folder = freshFolder();
      symlinkSync(holder, join(folder, 'lock'));
      SlotDirectory.open(folder).close();
      assert.deepEqual(readdirSync(folder), ['state.json']);
    });
  }

  test('is taken over where it is a file and no link', () => {
    const folder = freshFolder();
    writeFileSync(join(folder, 'lock'), '');
    SlotDirectory.open(folder).close();
    assert.deepEqual(readdirSync(folder), ['state.json']);
  });

  test('of another container holds while it is touched, and is taken over when it falls silent', NEEDS_PROC, () => {
    const folder = freshFolder();
    const lock = join(folder, 'lock');
    symlinkSync(`7 1 ${BOOT} 1`, lock);
    assert.throws(() => SlotDirectory.open(folder), /in use by process 7/);
    const silent = new Date(Date.now() - 31_000);
    lutimesSync(lock, silent, silent);
    SlotDirectory.open(folder).close();
    assert.deepEqual(readdirSync(folder), ['state.json']);
  });

  test('keeps out processes of another pid namespace, both ways', { skip: noNamespaces() }, async () => {
    const folder = freshFolder();
    const store = SlotDirectory.open(folder);
    assert.match(spawnSync('unshare', [...UNSHARE, ...openCommand(folder)], { encoding: 'utf8' }).stdout, /in use by/);
    store.close();
    const held = spawn('unshare', [...UNSHARE, ...openCommand(folder, 'setInterval(() => {}, 1000)')]);
    await once(held.stdout, 'data');
    const lock = join(folder, 'lock');
    const old = new Date(Date.now() - 20_000);
    lutimesSync(lock, old, old);
    assert.throws(() => SlotDirectory.open(folder), /in use by/);
    const deadline = Date.now() + 10_000;
    while (lstatSync(lock).mtimeMs < Date.now() - 10_000 && Date.now() < deadline) await delay(100);
    assert.ok(lstatSync(lock).mtimeMs > Date.now() - 10_000, 'the holder shows that it lives');
    held.kill('SIGKILL');
    await once(held, 'exit');
  });
});

function openInChild(folder: string): string {
  const [node, ...args] = openCommand(folder);
  return spawnSync(node!, args, { encoding: 'utf8' }).stdout;
}

/** `then` runs with the folder open. */
function openCommand(folder: string, then = ''): string[] {
  const url = new URL('../targets/node/slot-directory.ts', import.meta.url).href;
  const script = `const { SlotDirectory } = await import(${JSON.stringify(url)});
    try { SlotDirectory.open(${JSON.stringify(folder)}); console.log('opened'); ${then} } catch (error) { console.log(error.message); }`;
  return [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
}

function noNamespaces(): string | false {
  const made = spawnSync('unshare', [...UNSHARE, 'true']);
  return made.status === 0 ? false : 'needs root and unshare(1)';
}

function stateText(change: object): string {
  return JSON.stringify({ version: 1, active: null, slots: { a: null, b: null }, counterFloor: 0, ...change });
}
