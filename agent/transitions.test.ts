/** One test for each row of the table of transitions, and a random walk that must not leave the table. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  applying,
  booted,
  choosing,
  Driver,
  GARBAGE,
  HEADER,
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
import { type Conditions, NO_CONDITIONS } from './holds.js';
import { initialState } from './machine.js';
import type { Event } from './machine-types.js';
import { STATE_KINDS, type TransitionName } from './transitions.js';

/** One attempt only: the next failure is the last. */
const LAST = { retry: { maxAttempts: 1, minDelayMs: 100, maxDelayMs: 1000 } };
const BOOTED: Event = { kind: 'booted' };
const RETURNED: Event = { kind: 'returned' };
const ANOTHER = () => wish({ version: '3.0', targetSha256: OTHER });
const idle = () => choosing().slots(NEW);
const committing = (settings = {}) => applying(settings).staged();
const waiting = () => applying().fails();
const refused = () => applying().refuses();
const failed = () => applying(LAST).fails();
const ASKING = { consent: ['download', 'activate'] } as const;
const FULL = { fullImage: { url: 'https://models.example/f', size: 900 } };
const shut = (conditions: Partial<Conditions>) => ({ conditions: { ...NO_CONDITIONS, ...conditions } });
const held = () => choosing(shut({ downloadWindow: false })).slots(OLD);
const asked = (settings = {}) => choosing({ consent: ['download'] as const, ...settings }).slots(OLD);
const staged = () => applying(shut({ applyWindow: false })).staged();
const stagedAsking = (settings = {}) => applying({ consent: ['activate'] as const, ...settings }).staged();
/** Waits for its turn. */
const turn = () =>
  booted()
    .slots(OLD)
    .send(wish({ rollout: { fraction: 1, windowSeconds: 600 } }))
    .slots(OLD);
const later = (machine: Driver) =>
  machine.send({ kind: 'consented', consent: { targetSha256: OTHER, for: ['download'] } });
const toMore = (machine: Driver) => machine.send(wish({ rollout: { fraction: 1 } }));
const noWayBack = (machine: Driver) =>
  machine.send({
    kind: 'stopped',
    ticket: machine.state.ticket,
    failure: permanent('no-previous', 'there is no model to go back to'),
    reachedBytes: 0,
  });
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
  'starting -- consented -> starting': () => later(new Driver()),
  'starting -- booted -> choosing': () => booted(),
  'idle -- booted -> choosing': () => idle().send(BOOTED),
  'idle -- desired -> choosing': () => idle().send(ANOTHER()),
  'idle -- desired -> idle': () => idle().send(NO_WISH),
  'idle -- desired -> refused': () => idle().send(GARBAGE),
  'idle -- retryAsked -> choosing': () => idle().send({ kind: 'retryAsked' }),
  'idle -- returned -> choosing': () => idle().send(RETURNED),
  'idle -- consented -> idle': () => later(idle()),
  'idle -- rollbackAsked -> rollingBack': () => idle().send({ kind: 'rollbackAsked' }),
  'choosing -- booted -> choosing': () => choosing().send(BOOTED),
  'choosing -- desired -> choosing': () => choosing().send(ANOTHER()),
  'choosing -- desired -> idle': () => choosing().send(NO_WISH),
  'choosing -- desired -> refused': () => choosing().send(GARBAGE),
  'choosing -- slotsRead -> idle': () => choosing().slots(NEW),
  'choosing -- slotsRead -> refused': () => choosing().slots(OTHER),
  'choosing -- slotsRead -> applying': () => choosing().slots(OLD),
  'choosing -- consented -> choosing': () => later(choosing()),
  'choosing -- slotsRead -> held': () => held(),
  'choosing -- slotsRead -> staged': () =>
    staged()
      .reboot(shut({ applyWindow: false }))
      .slots(OLD),
  'choosing -- slotsRead -> testing': () => choosing().slots(NEW, 1),
  'choosing -- slotsRead -> rollingBack': () => choosing().slots(NEW, 3),
  'choosing -- stopped -> waiting': () => choosing().fails(),
  'choosing -- stopped -> refused': () => choosing().refuses(),
  'choosing -- stopped -> failed': () => choosing(LAST).fails(),
  'held -- booted -> choosing': () => held().send(BOOTED),
  'held -- desired -> choosing': () => toMore(held()),
  'held -- desired -> idle': () => held().send(NO_WISH),
  'held -- desired -> refused': () => held().send(GARBAGE),
  'held -- conditionsChanged -> choosing': () => held().under({ downloadWindow: true }),
  'held -- conditionsChanged -> held': () => turn().under({ downloadWindow: false }),
  'held -- consented -> choosing': () => asked().consents('download'),
  'held -- consented -> held': () => asked(shut({ downloadWindow: false })).consents('download'),
  'held -- retryDue -> choosing': () => turn().retryDue(),
  'held -- returned -> choosing': () => held().send(RETURNED),
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
  'applying -- conditionsChanged -> held': () => applying().under({ downloadWindow: false }),
  'applying -- consented -> applying': () => later(applying()),
  'applying -- staged -> staged': () => staged(),
  'applying -- staged -> committing': () => applying().staged(),
  'applying -- stopped -> applying': () => {
    return rotten(booted({ fullImage: 'always' }).slots(OLD).send(wish(FULL)).slots(OLD));
  },
  'applying -- stopped -> held': () => rotten(booted({ fullImage: 'ask' }).slots(OLD).send(wish(FULL)).slots(OLD)),
  'applying -- stopped -> waiting': () => applying().fails(),
  'applying -- stopped -> refused': () => applying().refuses(),
  'applying -- stopped -> failed': () => applying(LAST).fails(),
  'staged -- booted -> choosing': () => staged().send(BOOTED),
  'staged -- desired -> choosing': () => staged().send(ANOTHER()),
  'staged -- desired -> idle': () => staged().send(NO_WISH),
  'staged -- desired -> refused': () => staged().send(GARBAGE),
  'staged -- returned -> choosing': () => staged().send(RETURNED),
  'staged -- conditionsChanged -> choosing': () => staged().under({ applyWindow: true }),
  'staged -- consented -> choosing': () => stagedAsking().consents('activate'),
  'staged -- consented -> staged': () => stagedAsking(shut({ applyWindow: false })).consents('activate'),
  'committing -- booted -> choosing': () => committing().send(BOOTED),
  'committing -- desired -> committing': () => committing().send(ANOTHER()),
  'committing -- consented -> committing': () => later(committing()),
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
  'testing -- consented -> testing': () => later(testing()),
  'testing -- confirmed -> idle': () => testing().confirmed(),
  'testing -- confirmed -> choosing': () => testing().send(ANOTHER()).confirmed(),
  'testing -- confirmed -> refused': () => testing().send(GARBAGE).confirmed(),
  'testing -- stopped -> rollingBack': () => testing().unhealthy(),
  'testing -- stopped -> waiting': () => testing().fails(),
  'testing -- stopped -> failed': () => testing(LAST).fails(),
  'testing -- rollbackAsked -> rollingBack': () => testing().send({ kind: 'rollbackAsked' }),
  'rollingBack -- booted -> choosing': () => rollingBack().send(BOOTED),
  'rollingBack -- desired -> rollingBack': () => rollingBack().send(ANOTHER()),
  'rollingBack -- consented -> rollingBack': () => later(rollingBack()),
  'rollingBack -- rolledBack -> refused': () => rollingBack().rolledBack(OLD),
  'rollingBack -- rolledBack -> choosing': () => rollingBack().send(ANOTHER()).rolledBack(OLD),
  'rollingBack -- rolledBack -> idle': () => rollingBack().send(NO_WISH).rolledBack(OLD),
  'rollingBack -- stopped -> idle': () => noWayBack(idle().send({ kind: 'rollbackAsked' })),
  'rollingBack -- stopped -> choosing': () => noWayBack(idle().send({ kind: 'rollbackAsked' }, ANOTHER())),
  'rollingBack -- stopped -> waiting': () => rollingBack().fails(),
  'rollingBack -- stopped -> refused': () => rollingBack().refuses(),
  'rollingBack -- stopped -> failed': () => rollingBack(LAST).fails(),
  'waiting -- booted -> choosing': () => waiting().send(BOOTED),
  'waiting -- retryDue -> choosing': () => waiting().retryDue(),
  'waiting -- desired -> choosing': () => waiting().send(ANOTHER()),
  'waiting -- desired -> idle': () => waiting().send(NO_WISH),
  'waiting -- desired -> refused': () => waiting().send(GARBAGE),
  'waiting -- desired -> waiting': () => toMore(waiting()),
  'waiting -- consented -> waiting': () => later(waiting()),
  'waiting -- retryAsked -> choosing': () => waiting().send({ kind: 'retryAsked' }),
  'waiting -- returned -> choosing': () => waiting().send(RETURNED),
  'refused -- booted -> choosing': () => refused().send(BOOTED),
  'refused -- desired -> choosing': () => refused().send(ANOTHER()),
  'refused -- desired -> idle': () => refused().send(NO_WISH),
  'refused -- desired -> refused': () => refused().send(GARBAGE),
  'refused -- consented -> refused': () => later(refused()),
  'refused -- retryAsked -> choosing': () => refused().send({ kind: 'retryAsked' }),
  'refused -- returned -> choosing': () => refused().send(RETURNED),
  'failed -- booted -> choosing': () => failed().send(BOOTED),
  'failed -- desired -> choosing': () => failed().send(ANOTHER()),
  'failed -- desired -> idle': () => failed().send(NO_WISH),
  'failed -- desired -> refused': () => failed().send(GARBAGE),
  'failed -- desired -> failed': () => toMore(failed()),
  'failed -- consented -> failed': () => later(failed()),
  'failed -- retryAsked -> choosing': () => failed().send({ kind: 'retryAsked' }),
  'failed -- returned -> choosing': () => failed().send(RETURNED),
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
      if (at % 100 === 0) {
        machine = new Driver(
          pick([{}, LAST, { fullImage: 'always' as const }, { ...ASKING, fullImage: 'ask' as const }]),
          initialState(),
        );
      }
      if (pick([true, false, false, false]))
        machine.under(pick([NO_CONDITIONS, { downloadWindow: false }, { applyWindow: false }]));
      visited.add(machine.kind);
      machine.send(randomEvent(machine, pick));
    }
    assert.deepEqual([...visited].sort(), [...STATE_KINDS].sort());
  });
});

/** Read once: a walk has many steps. */
const WISHES = [
  wish(),
  wish(),
  ANOTHER(),
  ANOTHER(),
  wish({ rollout: { fraction: 0 }, ...FULL }),
  wish({ rollout: { fraction: 1, windowSeconds: 100 }, ...FULL }),
];

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
    pick(WISHES),
    pick(WISHES),
    pick(WISHES),
    { kind: 'consented', consent: pick([null, { targetSha256: NEW, for: ['activate'] }]) },
    pick([NO_WISH, GARBAGE]),
    { kind: 'slotsRead', ticket, active, trial },
    { kind: 'slotsRead', ticket, active, trial },
    { kind: 'staged', ticket, header: HEADER },
    { kind: 'staged', ticket, header: HEADER },
    { kind: 'committed', ticket, active, trial },
    { kind: 'committed', ticket, active, trial },
    { kind: 'confirmed', ticket },
    { kind: 'rolledBack', ticket, active },
    { kind: 'stopped', ticket, failure, reachedBytes: pick([0, 10, 1000]) },
    { kind: 'retryDue', ticket },
    { kind: pick(['retryAsked', 'returned', 'rollbackAsked'] as const) },
  ]);
}
