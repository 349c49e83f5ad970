/** What an update waits for, and what it does not lose by it. That each transition is in the table: transitions.test.ts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  applying,
  booted,
  choosing,
  Driver,
  document,
  HEADER,
  NEW,
  OLD,
  OTHER,
  wish,
} from '../hil-tests/support/machine-driver.js';
import { permanent } from './failure.js';
import { type Conditions, NO_CONDITIONS } from './holds.js';
import { initialState } from './machine.js';
import type { Effect } from './machine-types.js';
import { takesPart } from './rollout.js';
import { decodeState, encodeState } from './state-schema.js';

const FULL = { fullImage: { url: 'https://models.example/f', size: 900 } };
const shut = (conditions: Partial<Conditions>) => ({ conditions: { ...NO_CONDITIONS, ...conditions } });
const start = ({ effects }: Driver) => effects.find((effect) => effect.kind === 'startUpdate');
const rots = (machine: Driver) =>
  machine.send({
    kind: 'stopped',
    ticket: machine.state.ticket,
    failure: permanent('source-hash-mismatch', 'rotten'),
    reachedBytes: 0,
  });

describe('download window', () => {
  it('closed: nothing begins, and the report says what is waited for', () => {
    const machine = choosing(shut({ downloadWindow: false })).slots(OLD);
    assert.equal(machine.report.status, 'wait_window');
    assert.equal(machine.report.waits_for, 'window');
    assert.deepEqual(machine.report.download, { kind: 'patch', size: 500 });
    assert.ok(!machine.has('startUpdate'));
  });

  it('that closes on an update parks it, and the next one goes on where it was', () => {
    const machine = applying().under({ downloadWindow: false });
    assert.equal(machine.kind, 'held');
    assert.ok(machine.has('abortUpdate'));
    machine.under({ downloadWindow: true }).slots(OLD);
    assert.equal(start(machine)?.again, true);
  });

  it('that closes is no failure: the retry budget is as it was', () => {
    const last = { retry: { maxAttempts: 2, minDelayMs: 1, maxDelayMs: 1 } };
    const machine = applying(last).fails(10).retryDue().slots(OLD);
    for (let night = 0; night < 5; night++)
      machine.under({ downloadWindow: false }).under({ downloadWindow: true }).slots(OLD);
    assert.equal(machine.kind, 'applying');
    assert.equal(machine.fails(10).kind, 'failed');
  });

  it('does not stop what only has to be finished', () => {
    const machine = applying({ ...shut({ applyWindow: false }) }).staged();
    machine.under({ downloadWindow: false, applyWindow: true }).slots(OLD);
    assert.equal(machine.kind, 'applying');
    assert.equal(machine.under({}).kind, 'applying');
  });
});

describe('apply window', () => {
  const staged = () => applying(shut({ applyWindow: false })).staged();

  it('closed: the new model waits in its slot, and no switch is made', () => {
    const machine = staged();
    assert.equal(machine.report.status, 'staged');
    assert.equal(machine.report.waits_for, 'window');
    assert.equal(machine.report.progress, 100);
    assert.ok(!machine.has('commit'));
  });

  it('that opens lets the slot be looked at again, with the header that was kept, and then the switch be made', () => {
    const machine = staged().under({ applyWindow: true });
    assert.ok(machine.has('readSlots'));
    assert.equal(start(machine.slots(OLD))?.header, HEADER);
    assert.equal(machine.report.status, 'activating');
    assert.ok(machine.staged().has('commit'));
    assert.equal(machine.committed(NEW).kind, 'idle');
  });

  it('closed over a restart: staged still, and nothing is begun', () => {
    const machine = staged()
      .reboot(shut({ applyWindow: false, downloadWindow: false }))
      .slots(OLD);
    assert.equal(machine.kind, 'staged');
    assert.ok(!machine.has('startUpdate'));
    assert.equal(start(machine.under({ applyWindow: true }).slots(OLD))?.header, HEADER);
  });

  it('open, after a slot that was lost meanwhile: it is downloaded again, as ever', () => {
    const machine = staged().under({ applyWindow: true }).slots(OLD).fails().retryDue().slots(OLD);
    assert.equal(start(machine)?.header, null);
    assert.equal(machine.report.status, 'downloading');
  });

  it('open: a switch that fails is tried again without a download, also outside the download window', () => {
    const machine = applying().staged().fails();
    assert.equal(machine.kind, 'waiting');
    machine.under({ downloadWindow: false }).retryDue().slots(OLD);
    assert.equal(start(machine)?.header, HEADER);
  });

  it('closed: a base that changed meanwhile makes the staged model worthless', () => {
    const patches = [
      ...(document()['patches'] as object[]),
      { baseSha256: OTHER, profile: 'mcu', url: 'https://m/o', size: 5 },
    ];
    const machine = booted(shut({ applyWindow: false }))
      .slots(OLD)
      .send(wish({ patches }))
      .slots(OLD)
      .staged();
    const rebooted = machine.reboot().slots(OTHER);
    assert.equal(start(rebooted)?.job.choice.url, 'https://m/o');
    assert.equal(start(rebooted)?.header, null);
  });

  it('open, and another version wished during a switch that a restart cut short: the staged one is not taken for it', () => {
    const patches = [{ baseSha256: OLD, profile: 'gateway', url: 'https://m/o', size: 5 }];
    const machine = applying()
      .staged()
      .send(wish({ version: '3.0', targetSha256: OTHER, patches }));
    assert.equal(machine.kind, 'committing');
    const rebooted = machine.reboot().slots(OLD);
    assert.equal(start(rebooted)?.job.choice.url, 'https://m/o');
    assert.equal(start(rebooted)?.header, null);
  });

  it('closed: a document that names more bases keeps the staged model', () => {
    const more = { baseSha256: OTHER, profile: 'gateway', url: 'https://m/o', size: 5 };
    const machine = staged()
      .send(wish({ patches: [...(document()['patches'] as object[]), more] }))
      .slots(OLD);
    assert.equal(machine.kind, 'staged');
  });
});

describe('consent', () => {
  const BOTH = { consent: ['download', 'activate'] as const };

  it('is asked before the download and before the switch, each by its name', () => {
    const machine = choosing(BOTH).slots(OLD);
    assert.equal(machine.report.status, 'wait_confirmation');
    assert.deepEqual(machine.report.asks, { targetSha256: NEW, for: ['download'] });
    machine.consents('download').slots(OLD).staged();
    assert.equal(machine.report.status, 'staged');
    assert.deepEqual(machine.report.asks, { targetSha256: NEW, for: ['activate'] });
    machine.consents('activate').slots(OLD).staged();
    assert.equal(machine.kind, 'committing');
  });

  it('given at the device is to what is asked there, and to no more', () => {
    const machine = choosing(BOTH).slots(OLD).consents();
    assert.deepEqual(machine.state.consents, [{ targetSha256: NEW, for: ['download'] }]);
    assert.equal(machine.slots(OLD).consents().kind, 'applying', 'where nothing is asked it is nothing');
    assert.deepEqual(machine.staged().report.asks?.for, ['activate']);
  });

  it('may come before the document, and is not asked for again', () => {
    const machine = booted(BOTH).slots(OLD).consents('download', 'activate').send(wish()).slots(OLD);
    assert.equal(machine.kind, 'applying');
    assert.equal(machine.staged().kind, 'committing');
  });

  it('for another target lets nothing happen', () => {
    const machine = choosing(BOTH).slots(OLD);
    machine.send({ kind: 'consented', consent: { targetSha256: OTHER, for: ['download', 'activate'] } });
    assert.equal(machine.report.status, 'wait_confirmation');
  });

  it('is remembered over a restart, also for what comes later', () => {
    const machine = choosing(BOTH).slots(OLD).consents('download', 'activate');
    const rebooted = machine.reboot(BOTH).slots(OLD);
    assert.equal(rebooted.kind, 'applying');
    assert.equal(rebooted.staged().kind, 'committing');
  });

  it('holds for a document that is published again with the same target', () => {
    const machine = choosing(BOTH).slots(OLD).consents('download').slots(OLD).fails();
    machine.send(wish({ version: '2.0.1' })).slots(OLD);
    assert.equal(machine.kind, 'applying');
  });

  it('is used up by the switch', () => {
    const machine = applying().consents('download', 'activate').staged().committed(NEW);
    assert.deepEqual(machine.state.consents, []);
    assert.equal(machine.consents('download').state.consents.length, 0, 'a retained message that comes again is late');
  });

  it('is kept for four targets, and the oldest goes', () => {
    const machine = booted().slots(OLD);
    for (const digit of ['1', '2', '3', '4', '5']) {
      machine.send({ kind: 'consented', consent: { targetSha256: digit.repeat(64), for: ['download'] } });
    }
    assert.deepEqual(
      machine.state.consents.map(({ targetSha256 }) => targetSha256[0]),
      ['5', '4', '3', '2'],
    );
  });
});

describe('full image', () => {
  const bare = (settings: object) => booted(settings).slots(null).send(wish(FULL)).slots(null);

  it('ask: no byte of it without a yes that names it', () => {
    const machine = bare({ fullImage: 'ask' });
    assert.deepEqual(machine.report.asks, { targetSha256: NEW, for: ['full-image'] });
    assert.deepEqual(machine.report.download, { kind: 'full', size: 900 });
    assert.equal(machine.consents('download', 'activate').report.status, 'wait_confirmation');
    assert.equal(machine.consents('full-image').slots(null).kind, 'applying');
    assert.equal(machine.report.download?.kind, 'full');
  });

  it('ask: a patch is taken without', () => {
    assert.equal(booted({ fullImage: 'ask' }).slots(OLD).send(wish(FULL)).slots(OLD).kind, 'applying');
  });

  it('unmetered: begins on such a connection and parks on another', () => {
    const machine = bare({ fullImage: 'unmetered', ...shut({ unmetered: false }) });
    assert.equal(machine.report.status, 'wait_unmetered');
    assert.equal(machine.under({ unmetered: true }).slots(null).kind, 'applying');
    assert.equal(machine.under({ unmetered: false }).report.status, 'wait_unmetered');
    assert.ok(machine.has('abortUpdate'));
  });

  it('unmetered: a patch is taken on any', () => {
    const settings = { fullImage: 'unmetered' as const, ...shut({ unmetered: false }) };
    assert.equal(booted(settings).slots(OLD).send(wish(FULL)).slots(OLD).kind, 'applying');
  });

  it('of a device whose base has rotted waits for the same, and is not tried by way of the patch for ever', () => {
    const machine = rots(booted({ fullImage: 'ask' }).slots(OLD).send(wish(FULL)).slots(OLD));
    assert.equal(machine.report.status, 'wait_confirmation');
    assert.ok(!machine.has('startUpdate'));
    machine.under({});
    assert.equal(machine.kind, 'held');
    machine.consents('full-image').slots(OLD);
    assert.equal(start(rots(machine))?.job.choice.kind, 'full');
  });

  it('that is staged when the agent restarts is finished as the full image it is', () => {
    const machine = rots(
      booted({ fullImage: 'always', ...shut({ applyWindow: false }) })
        .slots(OLD)
        .send(wish(FULL))
        .slots(OLD),
    );
    const rebooted = machine.staged().reboot({ fullImage: 'always' }).slots(OLD);
    assert.equal(start(rebooted)?.job.choice.kind, 'full');
    assert.equal(start(rebooted)?.header, HEADER);
  });
});

describe('rollout', () => {
  const to = (fraction: number, windowSeconds?: number) =>
    wish({ rollout: { fraction, ...(windowSeconds === undefined ? {} : { windowSeconds }) } });
  const left = () => booted().slots(OLD).send(to(0)).slots(OLD);

  it('leaves out who is beyond the fraction, until it grows', () => {
    const machine = left();
    assert.equal(machine.report.status, 'wait_rollout');
    assert.equal(machine.send(to(0.0001)).slots(OLD).kind, 'held');
    assert.equal(machine.send(to(1)).slots(OLD).kind, 'applying');
  });

  it('that grows leaves those that are done, refused, given up or waiting as they are', () => {
    const last = { retry: { maxAttempts: 1, minDelayMs: 1, maxDelayMs: 1 } };
    const done = applying().staged().committed(NEW);
    for (const machine of [done, applying().refuses(), applying(last).fails(), applying().fails()]) {
      const { kind } = machine;
      assert.equal(machine.send(to(1)).kind, kind);
      assert.deepEqual(
        machine.effects.map((effect) => effect.kind),
        ['persist', 'report'],
      );
      assert.equal(machine.state.wish.kind === 'want' && machine.state.wish.desired.rollout?.fraction, 1);
    }
  });

  it('that is taken back stops a download and a switch that were under way, and loses nothing of them', () => {
    const machine = applying().send(to(0));
    assert.ok(machine.has('abortUpdate'));
    assert.equal(machine.slots(OLD).report.status, 'wait_rollout');
    assert.equal(start(machine.send(to(1)).slots(OLD))?.again, true);

    const staged = applying(shut({ applyWindow: false }))
      .staged()
      .send(to(0))
      .slots(OLD);
    assert.equal(staged.report.waits_for, 'rollout');
    assert.equal(staged.under({ applyWindow: true }).kind, 'staged');
    assert.equal(start(staged.send(to(1)).slots(OLD))?.header, HEADER);
  });

  it('with a window gives each device its turn, once', () => {
    const machine = booted().slots(OLD).send(to(1, 600)).slots(OLD);
    assert.equal(machine.report.status, 'wait_rollout');
    assert.equal(machine.report.waits_for, 'turn');
    const turn = machine.effects.find(
      (effect): effect is Extract<Effect, { kind: 'scheduleTurn' }> => effect.kind === 'scheduleTurn',
    );
    assert.ok(turn !== undefined && turn.delayMs > 0 && turn.delayMs < 600_000);
    assert.equal(machine.retryDue().slots(OLD).kind, 'applying');
    assert.equal(machine.fails().retryDue().slots(OLD).kind, 'applying', 'a retry does not wait for it again');
    assert.equal(machine.reboot().slots(OLD).kind, 'applying');
  });

  it('gives no turn to an update that had begun before the document spoke of turns', () => {
    const machine = applying().send(to(1, 600));
    assert.equal(machine.kind, 'applying');
    assert.equal(machine.fails().retryDue().slots(OLD).kind, 'applying');
  });

  it('asks in the order of patience: who is left out is asked nothing', () => {
    const settings = { consent: ['download'] as const, ...shut({ downloadWindow: false }) };
    const machine = booted(settings).slots(OLD).send(to(0, 600)).slots(OLD);
    const seen = [machine.report.status];
    seen.push(machine.send(to(1, 600)).slots(OLD).report.status);
    seen.push(machine.consents('download').report.status);
    machine.under({ downloadWindow: true });
    assert.equal(machine.report.waits_for, 'turn');
    assert.deepEqual(seen, ['wait_rollout', 'wait_confirmation', 'wait_window']);
  });
});

describe('a model that is written in place', () => {
  const asking = { inPlace: true, consent: ['activate'] as const, ...shut({ applyWindow: false }) };

  it('waits before its first byte for what the switch would wait for, and is not asked for again', () => {
    const machine = choosing(asking).slots(OLD);
    assert.deepEqual(machine.report.asks?.for, ['activate']);
    assert.equal(machine.consents('activate').report.status, 'wait_window');
    machine.under({ applyWindow: true }).slots(OLD);
    assert.equal(machine.kind, 'applying');
    assert.equal(machine.staged().kind, 'committing');
  });

  it('is brought to its end when a window closes on it', () => {
    const machine = applying({ inPlace: true });
    assert.equal(machine.under({ downloadWindow: false, applyWindow: false }).kind, 'applying');
    assert.equal(machine.staged().kind, 'committing');
  });

  it('that is not good stays, and both reasons are said', () => {
    const machine = applying({ inPlace: true }).staged().committed(NEW, true).unhealthy();
    const failure = permanent('no-previous', 'the device has one slot');
    machine.send({ kind: 'stopped', ticket: machine.state.ticket, failure, reachedBytes: 0 });
    const { status, sha256, error } = machine.report;
    assert.deepEqual([status, sha256], ['refused', NEW]);
    assert.deepEqual(error, { reason: 'unhealthy', message: 'not healthy in 100 ms; the device has one slot' });
  });
});

describe('rollback without a model before', () => {
  it('leaves the active model, and says why', () => {
    const machine = applying().staged().committed(NEW).send({ kind: 'rollbackAsked' });
    const failure = permanent('no-previous', 'there is no previous model to go back to: keepPrevious is false');
    machine.send({ kind: 'stopped', ticket: machine.state.ticket, failure, reachedBytes: 0 });
    assert.equal(machine.report.status, 'up_to_date');
    assert.equal(machine.report.error?.reason, 'no-previous');
    assert.equal(machine.reboot().slots(NEW).report.error, undefined);
  });
});

describe('saved state of the version before', () => {
  it('is read: what is new in it has its default', () => {
    const machine = applying().fails();
    const saved = JSON.parse(JSON.stringify(encodeState(machine.state)));
    delete saved.state.consents;
    delete saved.state.wish.desired.orderId;
    delete saved.state.retry.hadTurn;
    delete saved.state.retry.staged;
    const read = decodeState(saved);
    assert.ok(read !== null && read.kind === 'waiting');
    assert.deepEqual(read.consents, []);
    assert.equal(read.retry.attempt, 1);
    assert.equal(new Driver({}, read).send({ kind: 'booted' }).slots(OLD).kind, 'applying');
  });

  it('with a header that is none is forgotten', () => {
    const saved = JSON.parse(JSON.stringify(encodeState(applying(shut({ applyWindow: false })).staged().state)));
    saved.state.retry.staged.header = 'x'.repeat(6000);
    assert.equal(decodeState(saved), null);
    assert.equal(decodeState({ format: 1, state: initialState() }), null);
  });
});

it('gw-1, whom these tests drive, is within every fraction that they call large', () => {
  const { state } = applying();
  assert.ok(state.wish.kind === 'want');
  const { desired } = state.wish;
  assert.ok(takesPart('gw-1', { ...desired, rollout: { fraction: 0.9 } }));
  assert.ok(!takesPart('gw-1', { ...desired, rollout: { fraction: 0.0001 } }));
});
