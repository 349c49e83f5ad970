/**
 * Whether a transfer is worth waiting for: what came in over a whole window of waiting, against the least bytes a second (curl's
 * --speed-limit over --speed-time). A server that sends a byte now and then would otherwise hold an update for years.
 */
export class Headway {
  private readonly minBytesPerSecond: number;
  private readonly windowMs: number;
  private waitedMs = 0;
  private bytes = 0;

  constructor(minBytesPerSecond: number, windowMs: number) {
    this.minBytesPerSecond = minBytesPerSecond;
    this.windowMs = windowMs;
  }

  /** After `waitedMs` of waiting `bytes` came in. False at the end of a window that brought too few. */
  came(bytes: number, waitedMs: number): boolean {
    this.bytes += bytes;
    this.waitedMs += waitedMs;
    if (this.waitedMs < this.windowMs) return true;
    const isEnough = this.bytes * 1000 >= this.minBytesPerSecond * this.waitedMs;
    this.bytes = 0;
    this.waitedMs = 0;
    return isEnough;
  }
}
