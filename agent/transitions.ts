/**
 * Every transition the machine makes, as data: what the diagram in docs/agent-states.md is drawn from, what tests are held
 * against in both directions (a step that is not here fails them, a row without a test does not compile), and where the kill
 * tests learn which states there are.
 */
import type { Event, State } from './machine-types.js';

type StateKind = State['kind'];
type EventKind = Event['kind'];
type Row = readonly [from: StateKind, event: EventKind, to: StateKind, when: string];

export const TRANSITIONS = [
  ['starting', 'desired', 'starting', 'a wish before the first boot event is kept'],
  ['starting', 'consented', 'starting', 'a consent is kept'],
  ['starting', 'booted', 'choosing', 'first start'],
  ['idle', 'booted', 'choosing', 'restart'],
  ['idle', 'desired', 'choosing', 'another version is wished'],
  ['idle', 'desired', 'idle', 'the wish is withdrawn'],
  ['idle', 'desired', 'refused', 'the document cannot be read'],
  ['idle', 'retryAsked', 'choosing', 'a person wants the slots looked at again'],
  ['idle', 'returned', 'choosing', 'the device was away'],
  ['idle', 'consented', 'idle', 'a consent for a later document is kept'],
  ['idle', 'rollbackAsked', 'rollingBack', 'a person wants the model before'],
  ['choosing', 'booted', 'choosing', 'restart'],
  ['choosing', 'desired', 'choosing', 'another version is wished'],
  ['choosing', 'desired', 'idle', 'the wish is withdrawn'],
  ['choosing', 'desired', 'refused', 'the document cannot be read'],
  ['choosing', 'slotsRead', 'idle', 'nothing is wished, or it is installed'],
  ['choosing', 'slotsRead', 'refused', 'no patch for our base, or refused before'],
  ['choosing', 'consented', 'choosing', 'a consent is kept'],
  ['choosing', 'slotsRead', 'applying', 'a patch for our base'],
  ['choosing', 'slotsRead', 'held', 'a patch for our base, but not yet'],
  ['choosing', 'slotsRead', 'staged', 'the other slot holds the new model already, but the switch has to wait'],
  ['choosing', 'slotsRead', 'testing', 'the active model is on trial'],
  ['choosing', 'slotsRead', 'rollingBack', 'the trial has had its starts'],
  ['choosing', 'stopped', 'waiting', 'the slots cannot be read'],
  ['choosing', 'stopped', 'refused', 'the slots refuse for good'],
  ['choosing', 'stopped', 'failed', 'the retry budget is spent'],
  ['held', 'booted', 'choosing', 'restart'],
  ['held', 'desired', 'choosing', 'another document, or the same to more devices'],
  ['held', 'desired', 'idle', 'the wish is withdrawn'],
  ['held', 'desired', 'refused', 'the document cannot be read'],
  ['held', 'conditionsChanged', 'choosing', 'what it waited for is so'],
  ['held', 'conditionsChanged', 'held', 'it waits for something else now'],
  ['held', 'consented', 'choosing', 'the operator lets it go on'],
  ['held', 'consented', 'held', 'the operator does, and it waits for something else'],
  ['held', 'retryDue', 'choosing', 'its turn in the rollout has come'],
  ['held', 'returned', 'choosing', 'the device was away, and may be another one'],
  ['applying', 'booted', 'choosing', 'restart; the journal has what is done'],
  ['applying', 'desired', 'applying', 'the same work in another document'],
  ['applying', 'desired', 'choosing', 'another version is wished, or the rollout leaves this device out now'],
  ['applying', 'desired', 'idle', 'the wish is withdrawn'],
  ['applying', 'desired', 'refused', 'the document cannot be read'],
  ['applying', 'advanced', 'applying', 'a percent more'],
  [
    'applying',
    'conditionsChanged',
    'held',
    'the window has closed, or the connection is metered now; the journal has what is done',
  ],
  ['applying', 'consented', 'applying', 'a consent is kept'],
  ['applying', 'staged', 'committing', 'the other slot holds the new model, read back'],
  ['applying', 'staged', 'staged', 'the other slot holds the new model, but the switch has to wait'],
  ['applying', 'stopped', 'applying', 'the base has rotted: the full image'],
  ['applying', 'stopped', 'held', 'the base has rotted, and the full image has to wait'],
  ['applying', 'stopped', 'waiting', 'it may work later'],
  ['applying', 'stopped', 'refused', 'it never will'],
  ['applying', 'stopped', 'failed', 'the retry budget is spent'],
  ['staged', 'booted', 'choosing', 'restart; nothing is downloaded again'],
  ['staged', 'desired', 'choosing', 'another document'],
  ['staged', 'desired', 'idle', 'the wish is withdrawn'],
  ['staged', 'desired', 'refused', 'the document cannot be read'],
  ['staged', 'conditionsChanged', 'choosing', 'what the switch waited for is so'],
  ['staged', 'consented', 'choosing', 'the operator lets the switch be made'],
  ['staged', 'consented', 'staged', 'the operator does, and it waits for something else'],
  ['staged', 'returned', 'choosing', 'the device was away, and may be another one'],
  ['committing', 'booted', 'choosing', 'restart'],
  ['committing', 'desired', 'committing', 'a new wish has its turn afterwards'],
  ['committing', 'consented', 'committing', 'a consent is kept'],
  ['committing', 'committed', 'idle', 'switched, no trial'],
  ['committing', 'committed', 'testing', 'switched, on trial'],
  ['committing', 'committed', 'choosing', 'switched; another version is wished by now'],
  ['committing', 'committed', 'refused', 'switched; the document by now cannot be read'],
  ['committing', 'committed', 'waiting', 'the switch was lost'],
  ['committing', 'committed', 'failed', 'the switch was lost, and the retry budget is spent'],
  ['committing', 'stopped', 'waiting', 'the switch failed'],
  ['committing', 'stopped', 'refused', 'the switch is refused for good'],
  ['committing', 'stopped', 'failed', 'the retry budget is spent'],
  ['committing', 'stopped', 'choosing', 'the switch failed; another version is wished by now'],
  ['committing', 'stopped', 'idle', 'the switch failed; nothing is wished by now'],
  ['testing', 'booted', 'choosing', 'restart, counted as a trial boot'],
  ['testing', 'desired', 'testing', 'a new wish has its turn afterwards'],
  ['testing', 'consented', 'testing', 'a consent is kept'],
  ['testing', 'confirmed', 'idle', 'healthy'],
  ['testing', 'confirmed', 'choosing', 'healthy; another version is wished by now'],
  ['testing', 'confirmed', 'refused', 'healthy; the document by now cannot be read'],
  ['testing', 'stopped', 'rollingBack', 'not healthy'],
  ['testing', 'stopped', 'waiting', 'the confirmation cannot be written'],
  ['testing', 'stopped', 'failed', 'the retry budget is spent'],
  ['testing', 'rollbackAsked', 'rollingBack', 'a person wants the model before'],
  ['rollingBack', 'booted', 'choosing', 'restart'],
  ['rollingBack', 'desired', 'rollingBack', 'a new wish has its turn afterwards'],
  ['rollingBack', 'consented', 'rollingBack', 'a consent is kept'],
  ['rollingBack', 'rolledBack', 'refused', 'the model before is active; the given-up one is not tried again'],
  ['rollingBack', 'rolledBack', 'choosing', 'the model before is active; another version is wished by now'],
  ['rollingBack', 'rolledBack', 'idle', 'the model before is active; nothing is wished by now'],
  ['rollingBack', 'stopped', 'idle', 'there is no model before to go back to'],
  ['rollingBack', 'stopped', 'choosing', 'there is none; another version is wished by now'],
  ['rollingBack', 'stopped', 'waiting', 'the slots cannot be written'],
  ['rollingBack', 'stopped', 'refused', 'the slots refuse for good'],
  ['rollingBack', 'stopped', 'failed', 'the retry budget is spent'],
  ['waiting', 'booted', 'choosing', 'restart'],
  ['waiting', 'retryDue', 'choosing', 'the pause is over'],
  ['waiting', 'desired', 'choosing', 'another version is wished'],
  ['waiting', 'desired', 'idle', 'the wish is withdrawn'],
  ['waiting', 'desired', 'refused', 'the document cannot be read'],
  ['waiting', 'desired', 'waiting', 'the same document to more devices, or fewer'],
  ['waiting', 'consented', 'waiting', 'a consent is kept'],
  ['waiting', 'retryAsked', 'choosing', 'a person wants it now'],
  ['waiting', 'returned', 'choosing', 'the device is back'],
  ['refused', 'booted', 'choosing', 'restart; the refusal is remembered'],
  ['refused', 'desired', 'choosing', 'another document'],
  ['refused', 'desired', 'idle', 'the wish is withdrawn'],
  ['refused', 'desired', 'refused', 'the document cannot be read, or is the same to more devices'],
  ['refused', 'consented', 'refused', 'a consent is kept'],
  ['refused', 'retryAsked', 'choosing', 'a person wants it again'],
  ['refused', 'returned', 'choosing', 'the device was away, and may be another one'],
  ['failed', 'booted', 'choosing', 'restart; a new retry budget'],
  ['failed', 'desired', 'choosing', 'another document'],
  ['failed', 'desired', 'idle', 'the wish is withdrawn'],
  ['failed', 'desired', 'refused', 'the document cannot be read'],
  ['failed', 'desired', 'failed', 'the same document to more devices, or fewer'],
  ['failed', 'consented', 'failed', 'a consent is kept'],
  ['failed', 'retryAsked', 'choosing', 'a person wants it again'],
  ['failed', 'returned', 'choosing', 'the device is back'],
] as const satisfies readonly Row[];

type Named<R> = R extends readonly [infer F extends string, infer E extends string, infer T extends string, string]
  ? `${F} -- ${E} -> ${T}`
  : never;

/** `from -- event -> to`. */
export type TransitionName = Named<(typeof TRANSITIONS)[number]>;

const NAMES: ReadonlySet<string> = new Set(TRANSITIONS.map(([from, event, to]) => nameOf(from, event, to)));

export const STATE_KINDS: readonly StateKind[] = [...new Set(TRANSITIONS.map(([from]) => from))];

export function nameOf(from: StateKind, event: EventKind, to: StateKind): string {
  return `${from} -- ${event} -> ${to}`;
}

export function isTransition(from: StateKind, event: EventKind, to: StateKind): boolean {
  return NAMES.has(nameOf(from, event, to));
}
