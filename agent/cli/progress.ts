/** A progress bar on stderr, and only when that is a terminal: in a pipe nobody could make sense of it. */

import { Presets, SingleBar } from 'cli-progress';

export interface ProgressView {
  readonly update: (progress: { readonly phase: string; readonly done: number; readonly total: number }) => void;
  readonly stop: () => void;
}

export function showProgress(enabled: boolean): ProgressView {
  if (!enabled || !process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  const bar = new SingleBar(
    { format: '{phase} [{bar}] {percentage} %', stream: process.stderr, clearOnComplete: true, hideCursor: true },
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
