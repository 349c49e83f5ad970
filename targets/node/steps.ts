/**
 * Work cut into bounded pieces: a thread that has nothing else to do runs them one after another, one with an event loop turns to
 * that between them.
 */

import { setImmediate } from 'node:timers/promises';

export type Steps<T> = Generator<void, T, void>;

/** A signal to end is heard this late at most, a piece's own length aside. */
const TURN_MS = 20;

export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    for (const end = performance.now() + TURN_MS; performance.now() < end; ) {
      const { done, value } = steps.next();
      if (done === true) return value;
    }
    await setImmediate();
  }
}
