import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isWithin, localTime, parseTimeWindow } from './time-windows.js';

const at = (day: number, time: string) => ({ day, minute: Number(time.slice(0, 2)) * 60 + Number(time.slice(3)) });
const [SUN, MON, FRI, SAT] = [0, 1, 5, 6];
const open = (text: string, day: number, time: string) => isWithin([parseTimeWindow(text)!], at(day, time));

describe('time windows', () => {
  it('are open from their first minute up to their last one, which is not part of them', () => {
    assert.deepEqual(
      ['01:59', '02:00', '03:59', '04:00'].map((time) => open('02:00-04:00', MON, time)),
      [false, true, true, false],
    );
  });

  it('that end before they begin end on the day after', () => {
    assert.deepEqual(
      ['21:59', '22:00', '00:00', '05:29', '05:30'].map((time) => open('22:00-05:30', MON, time)),
      [false, true, true, true, false],
    );
  });

  it('past midnight belong to the day they begin on', () => {
    assert.ok(open('fri 22:00-05:30', FRI, '23:00'));
    assert.ok(open('fri 22:00-05:30', SAT, '05:00'));
    assert.ok(!open('fri 22:00-05:30', FRI, '05:00'));
    assert.ok(open('sat 22:00-05:30', SUN, '05:00'));
  });

  it('take lists and runs of days, also over the end of the week', () => {
    const days = (text: string) => [0, 1, 2, 3, 4, 5, 6].filter((day) => open(text, day, '12:00'));
    assert.deepEqual(days('mon,wed 00:00-24:00'), [1, 3]);
    assert.deepEqual(days('mon-fri 00:00-24:00'), [1, 2, 3, 4, 5]);
    assert.deepEqual(days('fri-mon,wed 00:00-24:00'), [0, 1, 3, 5, 6]);
    assert.deepEqual(days('00:00-24:00'), [0, 1, 2, 3, 4, 5, 6]);
  });

  it('are several: one that is open is enough, none at all is always open', () => {
    const windows = ['02:00-04:00', '12:00-13:00'].map((text) => parseTimeWindow(text)!);
    assert.ok(isWithin(windows, at(MON, '12:30')));
    assert.ok(!isWithin(windows, at(MON, '11:30')));
    assert.ok(isWithin(undefined, at(MON, '11:30')));
  });

  it('of no length, past the end of the day or in other words are none', () => {
    for (const text of ['', '02:00', '02:00-02:00', '24:00-02:00', '22:00-24:01', '2:00-4:00', '02:60-04:00']) {
      assert.equal(parseTimeWindow(text), null, text);
    }
    for (const text of ['foo 02:00-04:00', 'mon- 02:00-04:00', 'mon-tue-wed 02:00-04:00', 'mon 02:00-04:00 ']) {
      assert.equal(parseTimeWindow(text), null, text);
    }
  });

  it('read the clock in UTC or as it hangs on the wall', () => {
    const now = new Date('2026-11-24T23:30:00Z');
    assert.deepEqual(localTime(now, 'utc'), { day: 2, minute: 23 * 60 + 30 });
    assert.deepEqual(localTime(now, 'local'), { day: now.getDay(), minute: now.getHours() * 60 + now.getMinutes() });
  });
});
