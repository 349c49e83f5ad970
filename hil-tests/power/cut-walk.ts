/**
 * Cuts at every operation of a device. What it does up to a cut is always the same, so that its operations are recorded once
 * and then done again on the part, the last of them cut; each operation is also cut once in a real run, and must leave the
 * same bytes. After each cut the device really boots and goes on to the end.
 */
import assert from 'node:assert/strict';
import { type CutPlan, PowerCut, type SimFlash } from '../../targets/sim/nor-flash.js';
import { Prng } from '../../targets/sim/prng.js';
import { type Operation, repeat } from './recorder.js';
import type { Tally } from './tally.js';

export type Variant = Omit<CutPlan, 'operation'>;

/** A device under test, whatever it updates. `Known` is what it knows before an operation, to judge a cut of it by. */
export interface Subject<Known> {
  readonly part: SimFlash;
  /** Whether a program is torn at each of its bytes, or at three. */
  isTornEverywhere(operation: Operation): boolean;
  before(operation: Operation): Known;
  /** Throws when a cut left what it must not leave. */
  judge(variant: Variant, known: Known): void;
  /** Powers up, goes on to the end, and writes down what it does. */
  goOn(log: Operation[] | null): void;
  assertEnd(cuts: number): void;
}

const MOST_CUTS_OF_ONE_RUN = 6;

/**
 * Every operation x every kind of cut.
 * @param operations of an undisturbed run
 * @param live another device in the same state, for the real runs
 */
export function cutEach<Known>(
  tally: Tally,
  name: string,
  operations: readonly Operation[],
  subject: Subject<Known>,
  live: Subject<Known>,
): void {
  const start = live.part.snapshot();
  replay(subject.part, operations, (operation, index, rewind) => {
    const known = subject.before(operation);
    const variants = cutsOf(operation, subject.isTornEverywhere(operation));
    for (const variant of variants) {
      tally.run(`${name}/${index}/${nameOf(variant)}`, () => {
        rewind();
        cutAndJudge(tally, subject, operation, variant, known);
        subject.goOn(null);
        subject.assertEnd(1);
      });
    }
    const variant = variants[index % variants.length]!;
    tally.run(`${name}/${index}/live-${nameOf(variant)}`, () => {
      live.part.restore(start);
      live.part.planCut({ operation: index, ...variant });
      assertCut(tally, live.part, () => live.goOn(null));
      live.part.reboot();
      rewind();
      cutAndJudge(tally, subject, operation, variant, known);
      const [one, other] = [live, subject].map(({ part }) => part.snapshot().bytes);
      assert.ok(Buffer.compare(one!, other!) === 0, 'a recorded operation leaves what the real run leaves');
      live.goOn(null);
      live.assertEnd(1);
    });
  });
}

/** A first cut at any operation that is `wanted`, a second at any operation of the run that goes on from it. */
export function cutPairs<Known>(
  tally: Tally,
  name: string,
  operations: readonly Operation[],
  subject: Subject<Known>,
  wanted: (index: number, operation: Operation) => boolean,
): void {
  replay(subject.part, operations, (operation, index, rewind) => {
    if (!wanted(index, operation)) return;
    const known = subject.before(operation);
    for (const variant of cutsOf(operation, false)) {
      const first = `${name}/${index}/${nameOf(variant)}`;
      if (!tally.wants(first)) continue;
      rewind();
      cutAndJudge(tally, subject, operation, variant, known);
      cutAgain(tally, first, subject);
    }
  });
}

function cutAgain<Known>(tally: Tally, first: string, subject: Subject<Known>): void {
  subject.part.reboot();
  const afterFirst = subject.part.snapshot();
  const resumed: Operation[] = [];
  subject.goOn(resumed);
  subject.part.restore(afterFirst);
  replay(subject.part, resumed, (operation, index, rewind) => {
    const known = subject.before(operation);
    for (const variant of cutsOf(operation, false)) {
      tally.run(`${first}/${index}/${nameOf(variant)}`, () => {
        rewind();
        cutAndJudge(tally, subject, operation, variant, known);
        subject.goOn(null);
        subject.assertEnd(2);
      });
    }
  });
}

/**
 * Several cuts anywhere, also while it resumes, with chunks of any size: all of it from the seed. Returns how many.
 * @param operations of an undisturbed run
 * @param run throws PowerCut, or comes to the end
 * @param judge called after each cut
 */
export function cutAtRandom(
  tally: Tally,
  part: SimFlash,
  { seed, operations }: { readonly seed: number; readonly operations: number },
  run: (chunkBytes: number) => void,
  judge: () => void,
): number {
  const random = new Prng(seed);
  const wanted = 2 + random.below(MOST_CUTS_OF_ONE_RUN - 1);
  for (let cuts = 0; ; cuts++) {
    assert.ok(cuts <= wanted, 'it ends once nothing is cut any more');
    const kind = (['before', 'after', 'torn'] as const)[random.below(3)]!;
    if (cuts < wanted) part.planCut({ operation: random.below(operations >> Math.min(cuts, 3)), kind });
    try {
      run(1 + random.below(2000));
      return cuts;
    } catch (error) {
      if (!(error instanceof PowerCut)) throw error;
      assert.ok(part.fired);
      tally.countFired();
      judge();
    }
  }
}

/** Visits each operation with the part as it was before it. `rewind` brings that state back. */
export function replay(
  part: SimFlash,
  operations: readonly Operation[],
  visit: (operation: Operation, index: number, rewind: () => void) => void,
): void {
  for (const [index, operation] of operations.entries()) {
    const before = part.snapshot();
    const rewind = (): void => part.restore(before);
    visit(operation, index, rewind);
    rewind();
    repeat(part, operation);
  }
}

/** Does an operation again and cuts it. */
export function cut(tally: Tally, part: SimFlash, operation: Operation, variant: Variant): void {
  part.planCut({ operation: 0, ...variant });
  assertCut(tally, part, () => repeat(part, operation));
}

function cutAndJudge<Known>(
  tally: Tally,
  subject: Subject<Known>,
  operation: Operation,
  variant: Variant,
  known: Known,
): void {
  cut(tally, subject.part, operation, variant);
  subject.judge(variant, known);
}

function assertCut(tally: Tally, part: SimFlash, run: () => void): void {
  assert.throws(run, PowerCut);
  assert.ok(part.fired, 'the cut fired');
  tally.countFired();
}

/** Before, after, and torn: at each byte, or at the first, middle and last. */
function cutsOf(operation: Operation, isTornEverywhere: boolean): Variant[] {
  const variants: Variant[] = [{ kind: 'before' }, { kind: 'after' }];
  if (operation.kind === 'erase') return [...variants, { kind: 'torn' }];
  const { length } = operation.bytes;
  const torn = isTornEverywhere ? Array.from({ length }, (_, i) => i) : [0, length >> 1, length - 1];
  return [...variants, ...torn.map((tornByte) => ({ kind: 'torn', tornByte }) as const)];
}

function nameOf({ kind, tornByte }: Variant): string {
  return tornByte === undefined ? kind : `${kind}@${tornByte}`;
}
