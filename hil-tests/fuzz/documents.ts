/** Documents in text: what the broker says, what people configure, what lies in state files, who is trusted. */

import assert from 'node:assert/strict';
import { choose } from '../../agent/choose.js';
import { ConfigError, parseConfig } from '../../agent/config.js';
import { parseConsent, withConsent } from '../../agent/consent.js';
import { parseDesired } from '../../agent/desired.js';
import {
  getAcceptedSchema,
  getRequestSchema,
  parseMessage,
  rejectedSchema,
  updateAcceptedSchema,
  updateRequestSchema,
} from '../../agent/jobs/job-messages.js';
import { initialState } from '../../agent/machine.js';
import { decodeState, encodeState } from '../../agent/state-schema.js';
import { IoError, TrustError } from '../../core/errors.js';
import { acceptTrust } from '../../core/trust/accept-trust.js';
import { encodeTrust, joinTrust, splitTrust, trustMessage } from '../../core/trust/trust-file.js';
import { FIRST, ROOTS, signedTrust, VERIFIER } from '../../core/trust/trust-rig.test.js';
import { EMPTY_STATE, formatState, parseState } from '../../targets/node/slot-state.js';
import { mutatedJson } from './mutate-json.js';
import type { FuzzTarget, Outcome } from './target.js';

const HEX = 'ab'.repeat(32);
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

export class DesiredTarget implements FuzzTarget {
  readonly name = 'desired';
  readonly share = 6;
  readonly mutate = mutatedJson;
  private readonly policy = {
    model: 'm',
    fullImage: 'always',
    maxPatchBytes: 1 << 30,
    allowedHosts: ['models.example', '127.0.0.1'],
    allowInsecureHttp: false,
  } as const;

  seeds(): Uint8Array[] {
    const patch = { baseSha256: HEX, profile: 'gateway', url: 'https://models.example/p', size: 10 };
    const document = { model: 'm', version: '1', targetSha256: 'cd'.repeat(32), patches: [patch] };
    return [
      document,
      { ...document, fullImage: { url: 'http://127.0.0.1/f', size: 5 }, patches: [] },
      { ...document, targetSize: 9, rollout: { fraction: 0.5, windowSeconds: 60 } },
      { ...document, fullImage: null, trust: [decode(signedTrust(FIRST, ROOTS))], comment: { more: [1, 2] } },
    ].map(encode);
  }

  run(bytes: Uint8Array): Outcome {
    const wish = parseDesired(bytes);
    if (wish.kind === 'unreadable') return 'refused';
    if (wish.kind === 'none') return 'taken';
    const verdict = choose(this.policy, wish.desired, HEX);
    if (verdict.kind === 'refuse') return 'refused';
    const { protocol, hostname } = new URL(verdict.choice.url);
    assert.ok(['https:', 'http:'].includes(protocol) && this.policy.allowedHosts.some((host) => host === hostname));
    assert.ok(verdict.choice.size >= 1 && verdict.choice.size <= this.policy.maxPatchBytes);
    return 'taken';
  }
}

/** What anybody who may publish on `cmd/consent` sends. */
export class ConsentTarget implements FuzzTarget {
  readonly name = 'consent';
  readonly share = 2;
  readonly mutate = mutatedJson;

  seeds(): Uint8Array[] {
    return [{ targetSha256: HEX }, { targetSha256: HEX, for: ['download', 'activate', 'full-image'] }].map(encode);
  }

  run(bytes: Uint8Array): Outcome {
    const parsed = parseConsent(bytes);
    if (parsed.kind === 'unreadable') return 'refused';
    const consents = withConsent([], parsed.consent);
    assert.ok(
      /^[0-9a-f]{64}$/.test(parsed.consent.targetSha256) && consents.length === 1 && consents[0]!.for.length <= 3,
    );
    return 'taken';
  }
}

/** What a job server or somebody in its place publishes: taken where any of the messages has this shape. */
export class JobsTarget implements FuzzTarget {
  readonly name = 'jobs';
  readonly share = 5;
  readonly mutate = mutatedJson;

  seeds(): Uint8Array[] {
    const document = { model: 'm', version: '1', targetSha256: HEX, patches: [] };
    const execution = { jobId: 'job-1', status: 'QUEUED', versionNumber: 2, executionNumber: 1, jobDocument: document };
    return [
      { clientToken: 't', execution },
      { clientToken: 't', executionState: { status: 'IN_PROGRESS', versionNumber: 3 } },
      { clientToken: 't', code: 'VersionMismatch', message: 'no' },
      { status: 'FAILED', statusDetails: { reason: 'x', more: 'y' }, expectedVersion: 2, executionNumber: 1 },
    ].map(encode);
  }

  run(bytes: Uint8Array): Outcome {
    const schemas = [getRequestSchema, updateRequestSchema, updateAcceptedSchema, rejectedSchema];
    const others = schemas.map((schema) => parseMessage<unknown>(schema, bytes));
    const accepted = parseMessage(getAcceptedSchema, bytes);
    const document = accepted?.execution?.jobDocument;
    if (document !== undefined) parseDesired(encode(document));
    return accepted !== undefined || others.some((message) => message !== undefined) ? 'taken' : 'refused';
  }
}

export class ConfigTarget implements FuzzTarget {
  readonly name = 'config';
  readonly share = 3;
  readonly mutate = mutatedJson;

  seeds(): Uint8Array[] {
    const least = { device: 'gw-1', mqtt: { url: 'mqtt://broker' }, model: { name: 'pose', slots: 'slots' } };
    return [
      { ...least, trustedKeys: ['a.pub'] },
      { ...least, trust: { root: 'r', clock: 'none' }, limits: { maxPatchBytes: 5 }, retry: { maxAttempts: 3 } },
    ].map(encode);
  }

  run(bytes: Uint8Array): Outcome {
    try {
      parseConfig(decode(bytes), '/etc/mallorn/agent.json');
      return 'taken';
    } catch (error) {
      if (error instanceof ConfigError) return 'refused';
      throw error;
    }
  }
}

/** Written by us, but whoever can write to the disk writes there too. */
export class StateTarget implements FuzzTarget {
  readonly name = 'state';
  readonly share = 3;
  readonly mutate = mutatedJson;

  seeds(): Uint8Array[] {
    const slots = { a: { size: 5, sha256: HEX, counter: 2 }, b: null };
    const full = { ...EMPTY_STATE, active: 'a', slots, counterFloor: 2 } as const;
    return [new TextEncoder().encode(formatState(full)), encode(encodeState(initialState()))];
  }

  run(bytes: Uint8Array): Outcome {
    const text = decode(bytes);
    let isRead = true;
    try {
      parseState(text, 'state.json');
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      isRead = false;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return 'refused';
    }
    return decodeState(value) !== null || isRead ? 'taken' : 'refused';
  }
}

export class TrustTarget implements FuzzTarget {
  readonly name = 'trust';
  readonly share = 4;

  seeds(): Uint8Array[] {
    const expires = '2027-12-31T00:00:00Z';
    return [
      { ...FIRST, version: 2 },
      { ...FIRST, version: 77, expires, keys: [], revoked: FIRST.keys.map(({ publicKey }) => publicKey) },
      { ...FIRST, version: 3, threshold: 1, keys: FIRST.keys.map((key) => ({ ...key, expires })) },
    ].map((trust) => signedTrust(trust, ROOTS));
  }

  /** Two roots who sign anything. */
  repair(bytes: Uint8Array): Uint8Array {
    const text = Buffer.from(bytes).toString('latin1');
    const end = text.indexOf('\nsignature ');
    const body = end < 0 ? text : text.slice(0, end + 1);
    const message = trustMessage(body);
    const signatures = ROOTS.slice(0, 2).map((root) => ({ publicKey: root.publicKey, signature: root.sign(message) }));
    return joinTrust(body, signatures);
  }

  run(bytes: Uint8Array): Outcome {
    try {
      const trust = acceptTrust(FIRST, bytes, VERIFIER);
      assert.ok(trust.version > FIRST.version && trust.threshold >= 1);
      assert.equal(encodeTrust(trust), splitTrust(bytes).body, 'one encoding for each content');
      return 'taken';
    } catch (error) {
      if (error instanceof TrustError) return 'refused';
      throw error;
    }
  }
}
