/** One test for each row of the table of transitions, and a random walk that must not leave the table. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  applying,
  booted,
  choosing,
  Driver,
  GARBAGE,
  NEW,
  NO_WISH,
  OLD,
  OTHER,
  rollingBack,
  testing,
  wish,
} from '../hil-tests/support/machine-driver.js';
import { Prng } from '../targets/sim/prng.js';
import { permanent, retryable } from './failure.js';
import { initialState } from './machine.js';
import type { Event } from './machine-types.js';
import { STATE_KINDS, type TransitionName } from './transitions.js';

/** One attempt only: the next failure is the last. */
const LAST = { retry: { maxAttempts: 1, minDelayMs: 100, maxDelayMs: 1000 } };
const BOOTED: Event = { kind: 'booted' };
const ANOTHER = () => wish({ version: '3.0', targetSha256: OTHER });
const idle = () => choosing().slots(NEW);
const committing = (settings = {}) => applying(settings).staged();
const waiting = () => applying().fails();
const refused = () => applying().refuses();
const failed = () => applying(LAST).fails();
const rotten = (machine: Driver) =>
  machine.send({
    kind: 'stopped',
    ticket: machine.state.ticket,
    failure: permanent('source-hash-mismatch', 'rotten'),
    reachedBytes: 0,
  });

/** Each ends in the transition that names it. */
const SCENARIOS: Record<TransitionName, () => Driver> = {
  'starting -- desired -> starting': () => new Driver().send(wish()),
  'starting -- booted -> choosing': () => booted(),
  'idle -- booted -> choosing': () => idle().send(BOOTED),
  'idle -- desired -> choosing': () => idle().send(ANOTHER()),
  'idle -- desired -> idle': () => idle().send(NO_WISH),
  'idle -- desired -> refused': () => idle().send(GARBAGE),
  'idle -- rollbackAsked -> rollingBack': () => idle().send({ kind: 'rollbackAsked' }),
  'choosing -- booted -> choosing': () => choosing().send(BOOTED),
  'choosing -- desired -> choosing': () => choosing().send(ANOTHER()),
  'choosing -- desired -> idle': () => choosing().send(NO_WISH),
  'choosing -- desired -> refused': () => choosing().send(GARBAGE),
  'choosing -- slotsRead -> idle': () => choosing().slots(NEW),
  'choosing -- slotsRead -> refused': () => choosing().slots(OTHER),
  'choosing -- slotsRead -> applying': () => choosing().slots(OLD),
  'choosing -- slotsRead -> testing': () => choosing().slots(NEW, 1),
  'choosing -- slotsRead -> rollingBack': () => choosing().slots(NEW, 3),
  'choosing -- stopped -> waiting': () => choosing().fails(),
  'choosing -- stopped -> refused': () => choosing().refuses(),
  'choosing -- stopped -> failed': () => choosing(LAST).fails(),
  'applying -- booted -> choosing': () => applying().send(BOOTED),
  'applying -- desired -> applying': () => applying().send(wish({ version: '2.0.1' })),
  'applying -- desired -> choosing': () => applying().send(ANOTHER()),
  'applying -- desired -> idle': () => applying().send(NO_WISH),
  'applying -- desired -> refused': () => applying().send(GARBAGE),
  'applying -- advanced -> applying': () => {
    const machine = applying();
    const progress = { targetBytes: 1, targetSize: 2 };
    return machine.send({ kind: 'advanced', ticket: machine.state.ticket, progress });
  },
  'applying -- staged -> committing': () => applying().staged(),
  'applying -- stopped -> applying': () => {
    const full = { fullImage: { url: 'https://models.example/f', size: 900 } };
    return rotten(booted({ fullImage: 'always' }).slots(OLD).send(wish(full)).slots(OLD));
  },
  'applying -- stopped -> waiting': () => applying().fails(),
  'applying -- stopped -> refused': () => applying().refuses(),
  'applying -- stopped -> failed': () => applying(LAST).fails(),
  'committing -- booted -> choosing': () => committing().send(BOOTED),
  'committing -- desired -> committing': () => committing().send(ANOTHER()),
  'committing -- committed -> idle': () => committing().committed(NEW),
  'committing -- committed -> testing': () => committing().committed(NEW, true),
  'committing -- committed -> choosing': () => committing().send(ANOTHER()).committed(NEW),
  'committing -- committed -> refused': () => committing().send(GARBAGE).committed(NEW),
  'committing -- committed -> waiting': () => committing().committed(OLD),
  'committing -- committed -> failed': () => committing(LAST).committed(OLD),
  'committing -- stopped -> waiting': () => committing().fails(),
  'committing -- stopped -> refused': () => committing().refuses(),
  'committing -- stopped -> failed': () => committing(LAST).fails(),
  'committing -- stopped -> choosing': () => committing().send(ANOTHER()).fails(),
  'committing -- stopped -> idle': () => committing().send(NO_WISH).fails(),
  'testing -- booted -> choosing': () => testing().send(BOOTED),
  'testing -- desired -> testing': () => testing().send(ANOTHER()),
  'testing -- confirmed -> idle': () => testing().confirmed(),
  'testing -- confirmed -> choosing': () => testing().send(ANOTHER()).confirmed(),
  'testing -- confirmed -> refused': () => testing().send(GARBAGE).confirmed(),
  'testing -- stopped -> rollingBack': () => testing().unhealthy(),
  'testing -- stopped -> waiting': () => testing().fails(),
  'testing -- stopped -> failed': () => testing(LAST).fails(),
  'testing -- rollbackAsked -> rollingBack': () => testing().send({ kind: 'rollbackAsked' }),
  'rollingBack -- booted -> choosing': () => rollingBack().send(BOOTED),
  'rollingBack -- desired -> rollingBack': () => rollingBack().send(ANOTHER()),
  'rollingBack -- rolledBack -> refused': () => rollingBack().rolledBack(OLD),
  'rollingBack -- rolledBack -> choosing': () => rollingBack().send(ANOTHER()).rolledBack(OLD),
  'rollingBack -- rolledBack -> idle': () => rollingBack().send(NO_WISH).rolledBack(OLD),
  'rollingBack -- stopped -> waiting': () => rollingBack().fails(),
  'rollingBack -- stopped -> refused': () => rollingBack().refuses(),
  'rollingBack -- stopped -> failed': () => rollingBack(LAST).fails(),
  'waiting -- booted -> choosing': () => waiting().send(BOOTED),
  'waiting -- retryDue -> choosing': () => waiting().retryDue(),
  'waiting -- desired -> choosing': () => waiting().send(ANOTHER()),
  'waiting -- desired -> idle': () => waiting().send(NO_WISH),
  'waiting -- desired -> refused': () => waiting().send(GARBAGE),
  'waiting -- retryAsked -> choosing': () => waiting().send({ kind: 'retryAsked' }),
  'refused -- booted -> choosing': () => refused().send(BOOTED),
  'refused -- desired -> choosing': () => refused().send(ANOTHER()),
  'refused -- desired -> idle': () => refused().send(NO_WISH),
  'refused -- desired -> refused': () => refused().send(GARBAGE),
  'refused -- retryAsked -> choosing': () => refused().send({ kind: 'retryAsked' }),
  'failed -- booted -> choosing': () => failed().send(BOOTED),
  'failed -- desired -> choosing': () => failed().send(ANOTHER()),
  'failed -- desired -> idle': () => failed().send(NO_WISH),
  'failed -- desired -> refused': () => failed().send(GARBAGE),
  'failed -- retryAsked -> choosing': () => failed().send({ kind: 'retryAsked' }),
};

describe('transitions', () => {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    it(name, () => {
      const machine = scenario();
      assert.equal(machine.last, name);
      const kinds = machine.effects.map(({ kind }) => kind);
      // Progress alone is not worth a write, and nothing began before the first boot event.
      const isQuiet = name.startsWith('starting -- desired') || name.startsWith('applying -- advanced');
      assert.equal(kinds[0] === 'persist', !isQuiet, `${kinds}`);
    });
  }

  it('a random walk never leaves the table, and comes through every state', () => {
    const random = new Prng(8);
    const pick = <T>(choices: readonly T[]): T => choices[random.below(choices.length)]!;
    const visited = new Set<string>();
    let machine = new Driver();
    for (let at = 0; at < 100_000; at++) {
      if (at % 100 === 0) machine = new Driver(pick([{}, LAST, { fullImage: 'always' as const }]), initialState());
      visited.add(machine.kind);
      machine.send(randomEvent(machine, pick));
    }
    assert.deepEqual([...visited].sort(), [...STATE_KINDS].sort());
  });
});

function randomEvent(machine: Driver, pick: <T>(choices: readonly T[]) => T): Event {
  const ticket = machine.state.ticket - pick([0, 0, 0, 0, 1]);
  const active = { sha256: pick([OLD, NEW, NEW, OTHER]) };
  const trial = pick([null, null, { boots: 0 }, { boots: 9 }]);
  const failure = pick([
    permanent('unsigned', 'no signature'),
    permanent('source-hash-mismatch', 'rotten'),
    retryable('network', 'gone'),
  ]);
  return pick<Event>([
    BOOTED,
    wish(),
    ANOTHER(),
    pick([NO_WISH, GARBAGE]),
    { kind: 'slotsRead', ticket, active, trial },
    { kind: 'slotsRead', ticket, active, trial },
    { kind: 'staged', ticket },
    { kind: 'staged', ticket },
    { kind: 'committed', ticket, active, trial },
    { kind: 'committed', ticket, active, trial },
    { kind: 'confirmed', ticket },
    { kind: 'rolledBack', ticket, active },
    { kind: 'stopped', ticket, failure, reachedBytes: pick([0, 10, 1000]) },
    { kind: 'retryDue', ticket },
    { kind: pick(['retryAsked', 'rollbackAsked'] as const) },
  ]);
}
