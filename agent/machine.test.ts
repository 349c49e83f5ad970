import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  applying,
  booted,
  choosing,
  type Driver,
  document,
  GARBAGE,
  NEW,
  NO_WISH,
  OLD,
  OTHER,
  rollingBack,
  testing,
  wish,
} from '../hil-tests/support/machine-driver.js';
import { permanent } from './failure.js';
import { initialState } from './machine.js';
import { decodeState } from './state-schema.js';

describe('machine', () => {
  it('starting -> choosing: a boot asks the slots first', () => {
    const machine = booted();
    assert.equal(machine.kind, 'choosing');
    assert.deepEqual(
      machine.effects.map((effect) => effect.kind),
      ['persist', 'report', 'readSlots'],
    );
  });

  it('choosing -> idle: nothing is wished', () => {
    const machine = booted().slots(OLD);
    assert.equal(machine.kind, 'idle');
    assert.deepEqual(machine.report, {
      model: 'pose',
      installed_version: null,
      latest_version: null,
      sha256: OLD,
      status: 'no_wish',
      progress: null,
    });
  });

  it('choosing -> idle: what is wished is installed', () => {
    const machine = choosing().slots(NEW);
    assert.equal(machine.kind, 'idle');
    assert.equal(machine.report.status, 'up_to_date');
    assert.equal(machine.report.installed_version, '2.0');
    assert.ok(!machine.has('startUpdate'));
  });

  it('choosing -> applying: the patch for our base is taken', () => {
    const machine = applying();
    assert.equal(machine.kind, 'applying');
    assert.equal(machine.effects[0]?.kind, 'persist', 'on disk before the work begins');
    const start = machine.effects.find((effect) => effect.kind === 'startUpdate');
    assert.deepEqual(start?.job.choice, {
      kind: 'patch',
      url: 'https://models.example/p1',
      size: 500,
      baseSha256: OLD,
    });
    assert.equal(start?.again, false);
  });

  it('choosing -> refused: no patch for our base means no download', () => {
    const machine = choosing().slots(OTHER);
    assert.equal(machine.kind, 'refused');
    assert.equal(machine.report.error?.reason, 'wrong-base');
    assert.ok(!machine.has('startUpdate'));
  });

  it('choosing -> refused: another model, too large a patch, a URL against the policy', () => {
    const reason = (extra: Record<string, unknown>) =>
      booted().slots(OLD).send(wish(extra)).slots(OLD).report.error?.reason;
    const patch = (url: string, size: number) => ({ patches: [{ baseSha256: OLD, profile: 'gateway', url, size }] });
    assert.equal(reason({ model: 'face' }), 'wrong-model');
    assert.equal(reason(patch('https://models.example/p', 1001)), 'too-large');
    assert.equal(reason(patch('http://models.example/p', 10)), 'url-refused');
    assert.equal(reason(patch('http://127.0.0.1:8080/p', 10)), undefined);
    assert.equal(reason(patch('mqtt:p.mlrn', 10)), 'url-refused');
  });

  it('choosing -> applying: a full image only where the policy is always', () => {
    const full = { patches: [], fullImage: { url: 'https://models.example/f', size: 900 } };
    assert.equal(booted().slots(OLD).send(wish(full)).slots(OLD).kind, 'refused');
    const machine = booted({ fullImage: 'always' }).slots(null).send(wish(full)).slots(null);
    assert.equal(machine.kind, 'applying');
    assert.equal(machine.state.kind === 'applying' && machine.state.job.choice.kind, 'full');
  });

  it('choosing prefers the gateway profile and ignores profiles it does not know', () => {
    const patch = (profile: string, url: string) => ({ baseSha256: OLD, profile, url, size: 10 });
    const patches = [patch('quantum', 'https://m/q'), patch('mcu', 'https://m/m'), patch('gateway', 'https://m/g')];
    const machine = booted().slots(OLD).send(wish({ patches })).slots(OLD);
    assert.equal(machine.state.kind === 'applying' && machine.state.job.choice.url, 'https://m/g');
  });

  it('applying -> applying: progress is reported and not persisted', () => {
    const machine = applying();
    machine.send({ kind: 'advanced', ticket: machine.state.ticket, progress: { targetBytes: 50, targetSize: 200 } });
    assert.deepEqual(machine.effects, [{ kind: 'report' }]);
    assert.equal(machine.report.progress, 25);
    assert.equal(machine.report.status, 'downloading');
  });

  it('applying -> committing -> idle: the happy path', () => {
    const machine = applying().staged();
    assert.equal(machine.kind, 'committing');
    assert.deepEqual(
      machine.effects.map((effect) => effect.kind),
      ['persist', 'report', 'commit'],
    );
    machine.committed(NEW);
    assert.equal(machine.kind, 'idle');
    assert.deepEqual(machine.state.installed, { sha256: NEW, version: '2.0' });
  });

  it('applying -> applying: where the base has rotted, the whole model is asked for, if the policy allows it', () => {
    const full = { fullImage: { url: 'https://models.example/f', size: 900 } };
    const rotten = permanent('source-hash-mismatch', 'expected another SHA-256');
    const machine = booted({ fullImage: 'always' }).slots(OLD).send(wish(full)).slots(OLD);
    machine.send({ kind: 'stopped', ticket: machine.state.ticket, failure: rotten, reachedBytes: 0 });
    assert.equal(machine.kind, 'applying');
    const [, , start] = machine.effects;
    assert.ok(start?.kind === 'startUpdate' && start.ticket === machine.state.ticket);
    assert.deepEqual(start.job.choice, { kind: 'full', ...full.fullImage, baseSha256: null });
    machine.send({ kind: 'stopped', ticket: machine.state.ticket, failure: rotten, reachedBytes: 0 });
    assert.equal(machine.kind, 'refused');

    const poor = booted().slots(OLD).send(wish(full)).slots(OLD);
    poor.send({ kind: 'stopped', ticket: poor.state.ticket, failure: rotten, reachedBytes: 0 });
    assert.equal(poor.kind, 'refused');
  });

  it('applying -> refused: a permanent failure is remembered for the document', () => {
    const machine = applying().refuses();
    assert.equal(machine.report.status, 'refused');
    assert.equal(machine.report.error?.reason, 'unsigned');
    assert.deepEqual(machine.send(wish()).effects, [], 'the same document again changes nothing');
    assert.equal(machine.send(wish({ version: '2.1' })).kind, 'choosing');
  });

  it('refused -> refused over a restart, unless rules or base have changed', () => {
    const refused = applying().refuses();
    assert.equal(refused.reboot().slots(OLD).kind, 'refused');
    assert.equal(refused.reboot({ policyId: 'p2' }).slots(OLD).kind, 'applying');
    const patches = [{ baseSha256: OTHER, profile: 'gateway', url: 'https://m/o', size: 10 }];
    const other = booted().slots(OLD).send(wish({ patches })).slots(OLD);
    assert.equal(other.kind, 'refused');
    assert.equal(other.reboot().slots(OTHER).kind, 'applying');
  });

  it('applying -> waiting -> choosing -> applying: retries back off', () => {
    const machine = applying().fails();
    assert.equal(machine.kind, 'waiting');
    assert.deepEqual(machine.effects.at(-1), { kind: 'scheduleRetry', ticket: machine.state.ticket, delayMs: 100 });
    machine.retryDue().slots(OLD);
    assert.equal(machine.kind, 'applying');
    const start = machine.effects.find((effect) => effect.kind === 'startUpdate');
    assert.equal(start?.again, true);
    machine.fails();
    assert.deepEqual(machine.effects.at(-1), { kind: 'scheduleRetry', ticket: machine.state.ticket, delayMs: 200 });
  });

  it('waits as a server asks, up to the longest delay', () => {
    const delay = (machine: Driver) => machine.effects.find((effect) => effect.kind === 'scheduleRetry')?.delayMs;
    assert.equal(delay(applying().fails(0, 700)), 700);
    assert.equal(delay(applying().fails(0, 0)), 0);
    assert.equal(delay(applying().fails(0, 1e9)), 1000);
  });

  it('applying -> failed: the budget is spent', () => {
    const machine = applying().fails().retryDue().slots(OLD).fails().retryDue().slots(OLD).fails();
    assert.equal(machine.kind, 'failed');
    assert.ok(!machine.has('scheduleRetry'));
    assert.deepEqual(machine.send(wish()).effects, []);
    assert.equal(machine.reboot().slots(OLD).kind, 'applying', 'a restart gives a new budget');
  });

  it('only getting further than ever renews the budget', () => {
    const machine = applying();
    for (let reached = 10; reached <= 100; reached += 10) machine.fails(reached).retryDue().slots(OLD);
    assert.equal(machine.kind, 'applying');
    machine.fails(100).retryDue().slots(OLD).fails(100);
    assert.equal(machine.kind, 'failed');
  });

  it('choosing -> waiting: slots that cannot be read are tried again', () => {
    assert.equal(choosing().fails().kind, 'waiting');
  });

  it('committing -> waiting: a switch that failed begins again', () => {
    assert.equal(applying().staged().fails().kind, 'waiting');
    assert.equal(applying().staged().committed(OLD).kind, 'waiting');
  });

  it('applying -> idle: a withdrawn wish stops the update', () => {
    const machine = applying().send(NO_WISH);
    assert.equal(machine.kind, 'idle');
    assert.ok(machine.has('abortUpdate'));
  });

  it('applying -> refused: a document that cannot be read stops the update', () => {
    const machine = applying().send(GARBAGE);
    assert.equal(machine.report.error?.reason, 'bad-document');
    assert.ok(machine.has('abortUpdate'));
  });

  it('applying -> choosing: another target stops the update and begins the new one', () => {
    const machine = applying().send(wish({ targetSha256: OTHER }));
    assert.equal(machine.kind, 'choosing');
    assert.ok(machine.has('abortUpdate') && machine.has('readSlots'));
  });

  it('applying -> applying: the same patch in a longer document goes on', () => {
    const more = { baseSha256: OTHER, profile: 'gateway', url: 'https://models.example/p2', size: 500 };
    const patches = [...(document()['patches'] as unknown[]), more];
    const machine = applying().send(wish({ patches }));
    assert.equal(machine.kind, 'applying');
    assert.ok(!machine.has('abortUpdate'));
    assert.equal(machine.staged().committed(NEW).kind, 'idle');
  });

  it('committing -> choosing: a wish that changed during the switch has its turn after it', () => {
    const machine = applying()
      .staged()
      .send(wish({ targetSha256: OTHER, version: '3.0' }));
    assert.equal(machine.kind, 'committing');
    machine.committed(NEW);
    assert.equal(machine.kind, 'choosing');
    assert.deepEqual(machine.state.installed, { sha256: NEW, version: '2.0' });
    const failed = applying()
      .staged()
      .send(wish({ targetSha256: OTHER, version: '3.0' }))
      .refuses();
    assert.equal(failed.kind, 'choosing', 'the new document does not inherit a refusal');
  });

  it('ignores answers to work that was given up', () => {
    const machine = applying();
    const stale = machine.state.ticket;
    machine.send(NO_WISH);
    const before = machine.state;
    machine.send(
      { kind: 'staged', ticket: stale, header: '' },
      { kind: 'slotsRead', ticket: stale, active: null, trial: null },
    );
    assert.equal(machine.state, before);
  });

  it('every state -> choosing -> where it was, over a restart', () => {
    assert.equal(applying().reboot().slots(OLD).kind, 'applying');
    assert.equal(applying().staged().reboot().slots(OLD).kind, 'applying');
    assert.equal(applying().staged().reboot().slots(NEW).kind, 'idle', 'the switch had happened');
    assert.equal(applying().fails().reboot().slots(OLD).kind, 'applying');
    assert.equal(choosing().reboot().slots(OLD).kind, 'applying');
    const again = applying()
      .reboot()
      .slots(OLD)
      .effects.find((effect) => effect.kind === 'startUpdate');
    assert.equal(again?.again, true);
  });

  it('committing -> testing -> idle: a model on trial is confirmed before anything else is told', () => {
    const machine = testing();
    assert.equal(machine.report.status, 'testing');
    assert.deepEqual(machine.effects.at(-1), { kind: 'test', ticket: machine.state.ticket });
    assert.ok(!machine.has('tell'));
    machine.confirmed();
    assert.equal(machine.report.status, 'up_to_date');
    assert.ok(machine.has('tell'));
  });

  it('testing -> rollingBack -> refused: an unhealthy model is given up for the one before, and not tried again', () => {
    const machine = rollingBack();
    assert.deepEqual(machine.effects.at(-1), { kind: 'rollback', ticket: machine.state.ticket, always: false });
    machine.rolledBack(OLD);
    assert.equal(machine.report.status, 'refused');
    assert.equal(machine.report.error?.reason, 'unhealthy');
    assert.equal(machine.report.sha256, OLD);
    assert.equal(machine.state.previous?.sha256, NEW);
    assert.equal(machine.reboot().slots(OLD).kind, 'refused');
    assert.equal(machine.send({ kind: 'retryAsked' }).slots(OLD).kind, 'applying');
  });

  it('a trial ends after as many starts as it may take, whatever the agent remembers', () => {
    assert.equal(testing().reboot().slots(NEW, 2).kind, 'testing');
    assert.equal(testing().reboot().slots(NEW, 3).kind, 'rollingBack');
    const forgetful = booted().slots(NEW, 3);
    assert.equal(forgetful.kind, 'rollingBack');
    assert.equal(booted().slots(NEW, 0).kind, 'testing');
  });

  it('a rollback that a restart cut short is finished, before its switch and after it', () => {
    const before = rollingBack().reboot().slots(NEW, 3);
    assert.equal(before.kind, 'rollingBack');
    assert.equal(before.rolledBack(OLD).report.error?.reason, 'trial-boots');
    const after = rollingBack().reboot().slots(OLD);
    assert.equal(after.report.error?.reason, 'unhealthy');
    assert.equal(after.kind, 'refused');
  });

  it('names the version that a rollback brings back', () => {
    const machine = applying().staged().committed(NEW);
    machine.send(
      wish({
        targetSha256: OTHER,
        version: '3.0',
        patches: [{ baseSha256: NEW, profile: 'mcu', url: 'https://m/o', size: 1 }],
      }),
    );
    machine.slots(NEW).staged().committed(OTHER, true).unhealthy().rolledBack(NEW);
    assert.deepEqual(machine.state.installed, { sha256: NEW, version: '2.0' });
  });

  it('forgets a persisted state it does not understand', () => {
    assert.equal(decodeState({ format: 1, state: initialState() }), null);
    assert.equal(decodeState({ format: 2, state: { kind: 'dreaming' } }), null);
    assert.equal(decodeState('nonsense'), null);
  });
});
