import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { booted, OLD, wish } from '../hil-tests/support/machine-driver.js';
import { type ConditionRules, ConditionWatcher } from './conditions.js';
import type { State } from './machine-types.js';
import { parseTimeWindow } from './time-windows.js';

const NIGHT = [parseTimeWindow('22:00-05:30')!];
const FULL = { fullImage: { url: 'https://models.example/f', size: 900 } };

describe('condition watcher', () => {
  let folder: string;
  let watcher: ConditionWatcher | null = null;
  let looks = 0;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mallorn-conditions-'));
    looks = 0;
  });
  afterEach(() => {
    watcher?.stop();
    rmSync(folder, { recursive: true });
  });

  function watch(rules: Omit<ConditionRules, 'timeZone'>, now = () => new Date()): ConditionWatcher {
    const onChange = () => {
      looks++;
    };
    watcher = new ConditionWatcher({ rules: { timeZone: 'utc', ...rules }, onChange, log: () => {}, now, tickMs: 5 });
    return watcher;
  }

  const waitsForUnmetered = (): State => {
    const conditions = { downloadWindow: true, applyWindow: true, unmetered: false };
    return booted({ fullImage: 'unmetered', conditions }).slots(null).send(wish(FULL)).slots(null).state;
  };

  async function until(what: () => boolean): Promise<void> {
    for (let waited = 0; !what(); waited++) {
      assert.ok(waited < 1000, 'nothing happened in 5 s');
      await delay(5);
    }
  }

  it('says by the clock which windows are open, and has the machine look again and again', async () => {
    const clock = { now: new Date('2026-11-24T12:00:00Z') };
    const { current } = watch({ download: NIGHT, apply: undefined }, () => clock.now);
    assert.deepEqual(current, { downloadWindow: false, applyWindow: true, unmetered: true });
    await until(() => looks > 2);
    clock.now = new Date('2026-11-24T22:00:00Z');
    assert.ok(watcher?.current.downloadWindow);
  });

  it('without windows looks at no clock', async () => {
    watch({});
    await delay(50);
    assert.equal(looks, 0);
    assert.deepEqual(watcher?.current, { downloadWindow: true, applyWindow: true, unmetered: true });
  });

  it('runs the command while an update depends on the connection, and not before or after', async () => {
    const [ran, free] = [join(folder, 'ran'), join(folder, 'free')];
    const command = ['/bin/sh', '-c', `echo >>${ran}; test -e ${free}`];
    const conditions = watch({ unmetered: { command, intervalMs: 10, timeoutMs: 5000 } });
    conditions.attend(booted().slots(OLD).state);
    await delay(50);
    assert.ok(!existsSync(ran));
    conditions.attend(waitsForUnmetered());
    await until(() => looks > 1);
    assert.equal(conditions.current.unmetered, false);
    writeFileSync(free, '');
    await until(() => conditions.current.unmetered);
    rmSync(free);
    await until(() => !conditions.current.unmetered);
    conditions.attend(booted().slots(OLD).state);
    await delay(50);
    const { length } = readFileSync(ran);
    await delay(50);
    assert.equal(readFileSync(ran).length, length);
  });

  it('takes a command that does not end for a metered connection', async () => {
    const command = ['/bin/sh', '-c', 'sleep 30'];
    const conditions = watch({ unmetered: { command, intervalMs: 10, timeoutMs: 50 } });
    conditions.attend(waitsForUnmetered());
    await until(() => looks > 0);
    assert.equal(conditions.current.unmetered, false);
  });
});
