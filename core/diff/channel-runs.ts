/**
 * Which channel each element is of, for elements one after another (see channelAt). Channels lie in stretches that repeat, so most
 * of them are copied: divisions for each element took most of the time that fitting ratios takes. Encoder side only.
 */

import type { ChannelAxis } from './channel-axes.js';

/** @param first the element that the first of `found` is for. Channels have to stay below 65536. */
export function fillChannels(axis: ChannelAxis, first: number, found: Uint16Array): void {
  const { count, inner, group, outer } = axis;
  const repeats = outer % (inner * group) === 0 && count % group === 0;
  const period = Math.min(found.length, repeats ? (outer * count) / group : found.length);
  for (let at = 0; at < period; ) {
    const end = Math.min(period, at + outer - ((first + at) % outer));
    fillStretch(axis, first + at, found, at, end);
    at = end;
  }
  repeat(found, 0, period, found.length);
}

/** [at, end) lies in one stretch of `outer`. */
function fillStretch(axis: ChannelAxis, element: number, found: Uint16Array, at: number, end: number): void {
  const { count, inner, group, outer } = axis;
  const base = (Math.floor(element / outer) * group) % count;
  if (group === 1) {
    found.fill(base, at, end);
    return;
  }
  let lane = Math.floor(element / inner) % group;
  let left = inner - (element % inner);
  const period = Math.min(end - at, inner * group);
  for (let i = at; i < at + period; i++) {
    found[i] = (base + lane) % count;
    if (--left > 0) continue;
    left = inner;
    lane = lane + 1 === group ? 0 : lane + 1;
  }
  repeat(found, at, period, end);
}

/** The `period` numbers at `at`, again and again up to `end`. */
function repeat(found: Uint16Array, at: number, period: number, end: number): void {
  for (let done = period; at + done < end; done *= 2) found.copyWithin(at + done, at, Math.min(at + done, end - done));
}
