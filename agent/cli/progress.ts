/** A progress bar on stderr, and only when that is a terminal: in a pipe nobody could make sense of it. */

import { Presets, SingleBar } from 'cli-progress';

export interface ProgressView {
  readonly update: (progress: { readonly phase: string; readonly done: number; readonly total: number }) => void;
  readonly stop: () => void;
}

const FORMAT = '{phase} [{bar}] {percentage} %';
/** For what is slow enough to be waited for. */
export const TRANSFER_FORMAT = `${FORMAT} | {value} of {total} bytes | {eta_formatted} left`;

export function showProgress(enabled: boolean, format = FORMAT): ProgressView {
  if (!enabled || !process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  const bar = new SingleBar(
    { format, stream: process.stderr, clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update: ({ phase, done, total }) => {
      if (!started) bar.start(total, done, { phase });
      started = true;
      bar.setTotal(total);
      bar.update(done, { phase });
    },
    stop: () => {
      if (started) bar.stop();
    },
  };
}
