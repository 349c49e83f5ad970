import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Driver, NEW, NO_WISH, OLD, OTHER, wish } from '../../hil-tests/support/machine-driver.js';
import { permanent } from '../failure.js';
import type { StateFile } from '../json-file.js';
import { type HistoryEntry, UpdateHistory } from './update-history.js';

/** A disk that keeps what JSON keeps. */
class MemoryFile implements StateFile {
  text: string | undefined;
  async load(): Promise<unknown> {
    return this.text === undefined ? undefined : JSON.parse(this.text);
  }
  async save(value: unknown): Promise<void> {
    this.text = JSON.stringify(value);
  }
}

async function watch(file = new MemoryFile(), maxEntries = 200): Promise<UpdateHistory> {
  let now = 1000;
  return UpdateHistory.load({ file, log: () => {}, nowMs: () => now++, maxEntries });
}

type Step = (machine: Driver) => unknown;

const BEGIN: Step[] = [
  (m) => m.send({ kind: 'booted' }),
  (m) => m.slots(OLD),
  (m) => m.send(wish()),
  (m) => m.slots(OLD),
];
const SWITCH: Step[] = [(m) => m.staged(), (m) => m.committed(NEW)];
const TRIAL: Step[] = [(m) => m.staged(), (m) => m.committed(NEW, true)];

/** The history sees every state on the way, as the runtime shows it. */
function walk(history: UpdateHistory, machine: Driver, steps: readonly Step[]): void {
  for (const step of steps) {
    step(machine);
    history.observe('pose', machine.state);
  }
}

const short = ({ outcome, from, to, error }: HistoryEntry): unknown[] => [
  outcome,
  from?.sha256.slice(0, 2),
  to.sha256.slice(0, 2),
  error?.reason ?? null,
];

describe('update history', () => {
  it('tells what was installed, from where to where, in how many bytes', async () => {
    const file = new MemoryFile();
    const history = await watch(file);
    const machine = new Driver();
    walk(history, machine, BEGIN);
    history.downloaded('pose', 500);
    walk(history, machine, SWITCH);
    await history.settled();
    assert.deepEqual(history.entries, [
      {
        model: 'pose',
        startedAtMs: 1000,
        endedAtMs: 1003,
        from: { sha256: OLD, version: null },
        to: { sha256: NEW, version: '2.0' },
        outcome: 'installed',
        bytesDownloaded: 500,
        error: null,
      },
    ]);
    assert.deepEqual((await watch(file)).entries, history.entries, 'survives a restart');
  });

  const retries: Step[] = Array.from({ length: 3 }, () => [
    (m: Driver) => m.fails(),
    (m: Driver) => m.retryDue(),
    (m: Driver) => m.slots(OLD),
  ]).flat();
  const endings: readonly (readonly [string, readonly Step[], unknown[]])[] = [
    ['a trial that went well', [...BEGIN, ...TRIAL, (m) => m.confirmed()], ['installed', 'aa', 'bb', null]],
    [
      'a trial that did not',
      [...BEGIN, ...TRIAL, (m) => m.unhealthy(), (m) => m.rolledBack(OLD)],
      ['rolled-back', 'aa', 'bb', 'unhealthy'],
    ],
    ['a bad signature', [...BEGIN, (m) => m.refuses()], ['refused', 'aa', 'bb', 'unsigned']],
    ['a spent budget', [...BEGIN, ...retries.slice(0, -2)], ['failed', 'aa', 'bb', 'network']],
    ['a wish that is withdrawn', [...BEGIN, (m) => m.send(NO_WISH)], ['superseded', 'aa', 'bb', null]],
    [
      'another wish',
      [...BEGIN, (m) => m.send(wish({ targetSha256: OTHER })), (m) => m.slots(OLD)],
      ['superseded', 'aa', 'bb', null],
    ],
    [
      'another wish during the switch',
      [...BEGIN, (m) => m.staged(), (m) => m.send(NO_WISH), (m) => m.committed(NEW)],
      ['installed', 'aa', 'bb', null],
    ],
    [
      'a document that was refused unread',
      [...BEGIN.slice(0, 3), (m) => m.slots(OTHER)],
      ['refused', 'cc', 'bb', 'wrong-base'],
    ],
    [
      'a person who goes back',
      [...BEGIN, ...SWITCH, (m) => m.send({ kind: 'rollbackAsked' }), (m) => m.rolledBack(OLD)],
      ['rolled-back', 'aa', 'bb', 'rollback-asked'],
    ],
  ];
  for (const [name, steps, expected] of endings) {
    it(`tells of ${name}`, async () => {
      const history = await watch();
      walk(history, new Driver(), steps);
      assert.deepEqual(history.entries.map(short).at(-1), expected);
    });
  }

  it('an update goes on through a restart: one entry, counted from its first start', async () => {
    const file = new MemoryFile();
    const before = await watch(file);
    const machine = new Driver();
    walk(before, machine, BEGIN);
    before.downloaded('pose', 300);
    await before.settled();
    const after = await watch(file);
    const next = machine.reboot();
    after.observe('pose', next.state);
    walk(after, next, [(m) => m.slots(OLD)]);
    after.downloaded('pose', 200);
    walk(after, next, SWITCH);
    assert.deepEqual(
      after.entries.map(({ outcome, bytesDownloaded }) => [outcome, bytesDownloaded]),
      [['installed', 500]],
    );
  });

  it('a process that is killed loses count of its last minute alone', async () => {
    const file = new MemoryFile();
    let now = 1000;
    const killed = await UpdateHistory.load({ file, log: () => {}, nowMs: () => now });
    const machine = new Driver();
    walk(killed, machine, BEGIN);
    for (const count of [300, 20, 1]) {
      now += 40_000;
      killed.downloaded('pose', count);
    }
    await new Promise(setImmediate);
    const after = await watch(file);
    const next = machine.reboot();
    walk(after, next, [(m) => m.slots(OLD), ...SWITCH]);
    assert.equal(after.entries.at(-1)?.bytesDownloaded, 320);
  });

  it('the same refusal after a restart is no other entry', async () => {
    const file = new MemoryFile();
    const machine = new Driver();
    const before = await watch(file);
    walk(before, machine, [...BEGIN.slice(0, 3), (m) => m.slots(OTHER)]);
    await before.settled();
    const after = await watch(file);
    const next = machine.reboot();
    after.observe('pose', next.state);
    walk(after, next, [(m) => m.slots(OTHER)]);
    assert.equal(after.entries.length, 1);
  });

  it('keeps the last ones', async () => {
    const history = await watch(new MemoryFile(), 2);
    for (const reason of ['a', 'b', 'c']) {
      const failure = permanent(reason, reason);
      walk(history, new Driver(), [
        ...BEGIN,
        (m) => m.send({ kind: 'stopped', ticket: m.state.ticket, failure, reachedBytes: 0 }),
      ]);
    }
    assert.deepEqual(
      history.entries.map(({ error }) => error?.reason),
      ['b', 'c'],
    );
  });

  it('a disk that is full is said and stops nothing', async () => {
    const said: string[] = [];
    const file: StateFile = {
      load: async () => 'damaged',
      save: () => Promise.reject(new Error('ENOSPC')),
    };
    const history = await UpdateHistory.load({ file, log: (_, message) => said.push(message) });
    walk(history, new Driver(), [...BEGIN, ...SWITCH]);
    await history.settled();
    assert.equal(history.entries.length, 1);
    assert.ok(said.includes('cannot save the history'));
  });
});
