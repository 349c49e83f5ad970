/** Times of day at which something may be done: `22:00-05:30`, `sat,sun 00:00-24:00`. Pure: who asks says what time it is. */

export interface TimeWindow {
  /** Days on which it begins, Sunday first. */
  readonly days: readonly boolean[];
  readonly startMinute: number;
  /** Not part of it. Up to the start: it ends on the day after. */
  readonly endMinute: number;
}

/** What the clock on the wall says. */
export interface LocalTime {
  /** 0 is Sunday. */
  readonly day: number;
  /** Of the day. */
  readonly minute: number;
}

const DAY_NAMES = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const FORM = /^(?:([a-z,-]{3,27}) )?(\d\d):([0-5]\d)-(\d\d):([0-5]\d)$/;
const DAY_MINUTES = 24 * 60;

/** Null for what is no window. A window of no length is none: all day is `00:00-24:00`. */
export function parseTimeWindow(text: string): TimeWindow | null {
  const match = FORM.exec(text);
  if (match === null) return null;
  const [, names, startHour, startMinutes, endHour, endMinutes] = match;
  const days = names === undefined ? DAY_NAMES.map(() => true) : parseDays(names);
  const startMinute = Number(startHour) * 60 + Number(startMinutes);
  const endMinute = Number(endHour) * 60 + Number(endMinutes);
  const isSound = startMinute < DAY_MINUTES && endMinute <= DAY_MINUTES && startMinute !== endMinute;
  return days === null || !isSound ? null : { days, startMinute, endMinute };
}

/** `mon`, `mon,wed`, `mon-fri`, `fri-mon`. */
function parseDays(names: string): boolean[] | null {
  const days = DAY_NAMES.map(() => false);
  for (const part of names.split(',')) {
    const [first = '', last = first, ...rest] = part.split('-');
    const from = DAY_NAMES.indexOf(first);
    const to = DAY_NAMES.indexOf(last);
    if (from < 0 || to < 0 || rest.length > 0) return null;
    for (let day = from; ; day = (day + 1) % 7) {
      days[day] = true;
      if (day === to) break;
    }
  }
  return days;
}

/** Whether one of them is open; without any it always is. */
export function isWithin(windows: readonly TimeWindow[] | undefined, { day, minute }: LocalTime): boolean {
  if (windows === undefined) return true;
  return windows.some(({ days, startMinute, endMinute }) => {
    if (startMinute < endMinute) return days[day] && minute >= startMinute && minute < endMinute;
    return (days[day] && minute >= startMinute) || (days[(day + 6) % 7] && minute < endMinute);
  });
}

/** Where summer time begins or ends the wall clock counts: an hour that does not exist is not waited for. */
export function localTime(now: Date, zone: 'local' | 'utc'): LocalTime {
  return zone === 'utc'
    ? { day: now.getUTCDay(), minute: now.getUTCHours() * 60 + now.getUTCMinutes() }
    : { day: now.getDay(), minute: now.getHours() * 60 + now.getMinutes() };
}
