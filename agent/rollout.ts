/**
 * Phased rollouts (research/protocols.md, rule 7): which devices take part, and when each has its turn, by a hash that stays the
 * same for a device and a target. So a document that is published again with a larger fraction lets more in and none out.
 */
import { createHash } from 'node:crypto';
import type { Desired } from './desired.js';

const SECOND_MS = 1000;

/** Uniform in [0, 2^32). */
export function rolloutHash(device: string, targetSha256: string): number {
  return createHash('sha256').update(`${device}\n${targetSha256}`).digest().readUInt32BE(0);
}

export function takesPart(device: string, { rollout, targetSha256 }: Desired): boolean {
  return rollout === undefined || rolloutHash(device, targetSha256) / 2 ** 32 < rollout.fraction;
}

/** How long this device waits for its turn. In whole seconds: below a small fraction there are too few hashes for more. */
export function turnDelayMs(device: string, { rollout, targetSha256 }: Desired): number {
  const seconds = rollout?.windowSeconds ?? 0;
  return seconds === 0 ? 0 : (rolloutHash(device, targetSha256) % seconds) * SECOND_MS;
}
