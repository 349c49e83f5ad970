/** Drives the agent's state machine in tests, and holds it to its own table of transitions at every step. */
import assert from 'node:assert/strict';
import type { ConsentScope } from '../../agent/consent.js';
import { parseDesired } from '../../agent/desired.js';
import { permanent, retryable } from '../../agent/failure.js';
import { type Conditions, NO_CONDITIONS } from '../../agent/holds.js';
import { initialState, step } from '../../agent/machine.js';
import type { Effect, Event, MachineSettings, State } from '../../agent/machine-types.js';
import { reportOf } from '../../agent/reported.js';
import { decodeState, encodeState } from '../../agent/state-schema.js';
import { isTransition } from '../../agent/transitions.js';

export const OLD = 'aa'.repeat(32);
export const NEW = 'bb'.repeat(32);
export const OTHER = 'cc'.repeat(32);
/** First bytes of a patch. */
export const HEADER = 'TUxSTg==';

export const SETTINGS: MachineSettings = {
  model: 'pose',
  device: 'gw-1',
  consent: [],
  conditions: NO_CONDITIONS,
  fullImage: 'never',
  maxPatchBytes: 1000,
  allowedHosts: null,
  allowInsecureHttp: false,
  policyId: 'p1',
  trialBoots: 2,
  retry: { maxAttempts: 3, minDelayMs: 100, maxDelayMs: 1000 },
};

export function document(extra: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    model: 'pose',
    version: '2.0',
    targetSha256: NEW,
    patches: [{ baseSha256: OLD, profile: 'gateway', url: 'https://models.example/p1', size: 500 }],
    ...extra,
  };
}

export function wish(extra: Record<string, unknown> = {}): Event {
  return { kind: 'desired', wish: parseDesired(new TextEncoder().encode(JSON.stringify(document(extra)))) };
}

export const NO_WISH: Event = { kind: 'desired', wish: { kind: 'none' } };
export const GARBAGE: Event = { kind: 'desired', wish: parseDesired(new TextEncoder().encode('{')) };

/** Drives a machine; every state on the way survives a round trip through its persisted form. */
export class Driver {
  state: State;
  effects: readonly Effect[] = [];
  /** The latest transition, spelt as in the table. */
  last = '';
  private settings: MachineSettings;

  constructor(settings: Partial<MachineSettings> = {}, state: State = initialState()) {
    this.settings = { ...SETTINGS, ...settings };
    this.state = state;
  }

  /** Apart from `state`, because an assertion about state.kind would narrow it for the rest of a test. */
  get kind(): State['kind'] {
    return this.state.kind;
  }

  send(...events: Event[]): this {
    for (const event of events) {
      const { state, effects } = step(this.settings, this.state, event);
      const { kind: from } = this.state;
      this.last = `${from} -- ${event.kind} -> ${state.kind}`;
      if (state !== this.state) assert.ok(isTransition(from, event.kind, state.kind), `not in the table: ${this.last}`);
      assert.deepEqual(decodeState(JSON.parse(JSON.stringify(encodeState(state)))), state);
      this.state = state;
      this.effects = effects;
    }
    return this;
  }

  /** Events about the work in hand, with its ticket. */
  slots(sha256: string | null, trialBoots: number | null = null): this {
    const trial = trialBoots === null ? null : { boots: trialBoots };
    const active = sha256 === null ? null : { sha256 };
    return this.send({ kind: 'slotsRead', ticket: this.state.ticket, active, trial });
  }

  staged(): this {
    return this.send({ kind: 'staged', ticket: this.state.ticket, header: HEADER });
  }

  /** A window opens or closes, or the connection is another one. */
  under(conditions: Partial<Conditions>): this {
    this.settings = { ...this.settings, conditions: { ...this.settings.conditions, ...conditions } };
    return this.send({ kind: 'conditionsChanged' });
  }

  consents(...scopes: ConsentScope[]): this {
    return this.send({ kind: 'consented', consent: scopes.length === 0 ? null : { targetSha256: NEW, for: scopes } });
  }

  committed(sha256: string, onTrial = false): this {
    const trial = onTrial ? { boots: 0 } : null;
    return this.send({ kind: 'committed', ticket: this.state.ticket, active: { sha256 }, trial });
  }

  confirmed(): this {
    return this.send({ kind: 'confirmed', ticket: this.state.ticket });
  }

  unhealthy(): this {
    const failure = permanent('unhealthy', 'not healthy in 100 ms');
    return this.send({ kind: 'stopped', ticket: this.state.ticket, failure, reachedBytes: 0 });
  }

  rolledBack(sha256: string): this {
    return this.send({ kind: 'rolledBack', ticket: this.state.ticket, active: { sha256 } });
  }

  fails(reachedBytes = 0, retryAfterMs?: number): this {
    const failure = retryable('network', 'gone', retryAfterMs);
    return this.send({ kind: 'stopped', ticket: this.state.ticket, failure, reachedBytes });
  }

  refuses(): this {
    const failure = permanent('unsigned', 'no signature');
    return this.send({ kind: 'stopped', ticket: this.state.ticket, failure, reachedBytes: 0 });
  }

  retryDue(): this {
    return this.send({ kind: 'retryDue', ticket: this.state.ticket });
  }

  has(kind: Effect['kind']): boolean {
    return this.effects.some((effect) => effect.kind === kind);
  }

  get report() {
    return reportOf('pose', this.state);
  }

  /** Another process with the same state file. */
  reboot(settings: Partial<MachineSettings> = {}): Driver {
    return new Driver(settings, this.state).send({ kind: 'booted' });
  }
}

export const booted = (settings: Partial<MachineSettings> = {}) => new Driver(settings).send({ kind: 'booted' });
/** Choosing, with the wish known. */
export const choosing = (settings: Partial<MachineSettings> = {}) => booted(settings).slots(OLD).send(wish());
export const applying = (settings: Partial<MachineSettings> = {}) => choosing(settings).slots(OLD);
/** The new model is active and on trial. */
export const testing = (settings: Partial<MachineSettings> = {}) => applying(settings).staged().committed(NEW, true);
export const rollingBack = (settings: Partial<MachineSettings> = {}) => testing(settings).unhealthy();
