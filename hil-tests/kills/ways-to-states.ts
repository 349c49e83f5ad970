/**
 * How a real agent is brought into each state of its machine and kept there, so that it can be killed in it. A state that is added to
 * the machine and not here does not compile.
 */
import type { State } from '../../agent/machine-types.js';
import type { HeldCall, StateDevice } from './state-device.js';

export interface Way {
  /** Where within the state, in a test's name. */
  readonly where: string;
  /** In the agent's configuration. */
  readonly config?: Record<string, unknown>;
  /** A call of the file system that hangs, once `reach` has laid the flag. */
  readonly hold?: HeldCall;
  /** Does all until the state is reached, apart from waiting for it. */
  reach(device: StateDevice): Promise<void> | void;
  /** Default: what held the agent is over. */
  restart?(device: StateDevice): void;
  readonly ends: Ending;
}

export interface Ending {
  readonly status: 'SUCCEEDED' | 'FAILED' | 'REJECTED';
  readonly reason?: string;
}

const DONE: Ending = { status: 'SUCCEEDED' };
/** Until the test lays this file, the application is not well; a wait that is longer than any test. */
const UNWELL_UNTIL_TOLD = (flag: string) => ({
  health: { command: ['/bin/sh', '-c', `test -e ${flag}`], timeoutMs: 60_000, intervalMs: 20 },
});
/** Says that it hangs from here on, and that it is not well. */
const UNWELL = (flag: string) => ({
  health: { command: ['/bin/sh', '-c', `touch ${flag}; false`], timeoutMs: 50, intervalMs: 20 },
});
const PATIENT = { retry: { minDelayMs: 3_600_000, maxDelayMs: 3_600_000, maxResumes: 0, stallTimeoutMs: 60_000 } };

/** `flag` is a path that each device has for itself. */
export function waysTo(flag: string): Record<State['kind'], readonly [Way, ...Way[]]> {
  return {
    starting: [
      {
        where: 'while its state is read',
        hold: { call: 'readFile', path: 'agent-state/state.json', promises: true },
        async reach(device) {
          device.layFlag();
          await device.order();
        },
        ends: DONE,
      },
    ],
    idle: [
      { where: 'before there is an order', reach() {}, restart: (device) => void device.order(), ends: DONE },
      {
        where: 'with its order done',
        async reach(device) {
          await device.order();
          await device.until(() => device.disk().activeSha256 === device.newSha256);
        },
        ends: DONE,
      },
    ],
    choosing: [
      {
        where: 'while the slots are read',
        hold: { call: 'readFileSync', path: 'slots/state.json', workers: true },
        async reach(device) {
          await device.isIn('idle');
          device.layFlag();
          await device.order();
        },
        ends: DONE,
      },
    ],
    held: [
      {
        where: 'with a download that nobody consented to',
        config: { consent: ['download'] },
        reach: (device) => device.order(),
        restart: (device) => device.consent('download'),
        ends: DONE,
      },
    ],
    staged: [
      {
        where: 'with a switch that nobody consented to',
        config: { consent: ['activate'] },
        reach: (device) => device.order(),
        restart: (device) => device.consent('activate'),
        ends: DONE,
      },
    ],
    applying: [
      {
        where: 'with part of the patch applied',
        async reach(device) {
          device.stallAfter(0.7);
          await device.order();
          await device.until(() => device.writtenBytes > 0);
        },
        ends: DONE,
      },
    ],
    committing: [
      {
        where: 'before the switch',
        hold: { call: 'ftruncateSync', path: 'b.model' },
        async reach(device) {
          device.layFlag();
          await device.order();
        },
        ends: DONE,
      },
      {
        where: 'behind the switch',
        hold: { call: 'symlinkSync', path: '.current' },
        async reach(device) {
          device.layFlag();
          await device.order();
        },
        ends: DONE,
      },
    ],
    testing: [
      {
        where: 'while the application is asked',
        config: UNWELL_UNTIL_TOLD(flag),
        reach: (device) => device.order(),
        restart: (device) => device.layFlag(),
        ends: DONE,
      },
    ],
    rollingBack: [
      {
        where: 'before the switch',
        config: UNWELL(flag),
        hold: { call: 'renameSync', path: 'slots/state.json', workers: true },
        reach: (device) => device.order(),
        ends: { status: 'FAILED', reason: 'unhealthy' },
      },
      {
        where: 'behind the switch',
        config: UNWELL(flag),
        hold: { call: 'symlinkSync', path: '.current', workers: true },
        reach: (device) => device.order(),
        ends: { status: 'FAILED', reason: 'unhealthy' },
      },
    ],
    waiting: [
      {
        where: 'after a connection that broke',
        config: PATIENT,
        async reach(device) {
          device.cutAfter(0.7);
          await device.order();
        },
        ends: DONE,
      },
    ],
    refused: [
      {
        where: 'with a patch that nobody signed',
        reach: (device) => device.order({ signed: false }),
        ends: { status: 'REJECTED', reason: 'unsigned' },
      },
    ],
    failed: [
      {
        where: 'with its attempts used up',
        reach(device) {
          device.answer(404);
          return device.order();
        },
        restart: (device) => device.answer(404),
        ends: { status: 'FAILED', reason: 'http-404' },
      },
    ],
  };
}
