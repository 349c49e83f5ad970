/** A waiting line: so many at once, first come, first served; who aborts leaves it. */

import type { AbortSignalLike } from './api-types.js';

export class Places {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(count: number) {
    this.free = count;
  }

  /** Resolves to the call that gives the place back, to be made once. @throws signal.reason */
  enter(signal?: AbortSignalLike): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal?.removeEventListener('abort', giveUp);
        this.free--;
        resolve(() => this.leave());
      };
      const giveUp = (): void => {
        this.waiting.splice(this.waiting.indexOf(admit), 1);
        reject(signal?.reason);
      };
      if (this.free > 0) admit();
      else {
        this.waiting.push(admit);
        signal?.addEventListener('abort', giveUp);
      }
    });
  }

  private leave(): void {
    this.free++;
    this.waiting.shift()?.();
  }
}
