/** What the agent trusts, from its first start through rotations, restarts and what others would have it believe. */

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { toHex } from '../core/hex.js';
import type { Trust } from '../core/trust/trust-file.js';
import { BUILD, FIRST, RELEASE, ROOTS, signedTrust, VERIFIER } from '../core/trust/trust-rig.test.js';
import { distinctKeys, TrustStore } from './trust-store.js';

const text = (trust: Trust, signers = ROOTS): string => new TextDecoder().decode(signedTrust(trust, signers));
const without = (key: Uint8Array, version: number): Trust => ({
  ...FIRST,
  version,
  keys: FIRST.keys.filter(({ publicKey }) => publicKey !== key),
  revoked: [key],
});
const SECOND = text(without(BUILD.publicKey, 2));
const THIRD = text({ ...without(BUILD.publicKey, 3), expires: '2027-01-01T00:00:00Z' });

describe('the trust store', () => {
  let folder: string;
  let path: string;
  let log: string[];
  let now: string | null;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mallorn-trust-'));
    path = join(folder, 'trust.json');
    log = [];
    now = null;
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const open = (pinned = text(FIRST)): Promise<TrustStore> =>
    TrustStore.open({
      pinned: new TextEncoder().encode(pinned),
      path,
      verifier: VERIFIER,
      now: () => now,
      log: (_level, message, fields) => log.push(`${message} ${String(fields?.['code'] ?? '')}`.trim()),
    });
  const patchKeys = (store: TrustStore): string[] => store.keys().trustedKeys.map(toHex);
  const release = toHex(RELEASE.publicKey);

  it('starts from the pinned file, and only from a sound one', async () => {
    const store = await open();
    assert.deepEqual([store.version, patchKeys(store).length, store.keys().imageKeys.map(toHex)], [1, 2, [release]]);
    assert.equal(distinctKeys(store.keys()).length, 2);
    await assert.rejects(open(text(FIRST, [ROOTS[0]!])), { code: 'THRESHOLD_NOT_MET' });
    await assert.rejects(open('{}'), { code: 'BAD_TRUST' });
  });

  it('takes what follows, remembers it, and is not talked back', async () => {
    const store = await open();
    store.offer([text(FIRST), SECOND, THIRD]);
    await store.settled();
    assert.deepEqual([store.version, patchKeys(store)], [3, [release]]);
    const again = await open();
    assert.deepEqual([again.version, patchKeys(again)], [3, [release]]);
    again.offer([text({ ...FIRST, version: 2 })]);
    again.offer([text({ ...FIRST, version: 4 })]);
    again.offer([text({ ...FIRST, version: 5 }, [ROOTS[0]!])]);
    assert.equal(again.version, 3);
    assert.deepEqual(
      log.slice(1),
      ['TRUST_ROLLED_BACK', 'TRUST_ROLLED_BACK', 'THRESHOLD_NOT_MET'].map((code) => `trust file refused ${code}`),
    );
  });

  it('stores nothing that was refused', async () => {
    const store = await open();
    store.offer([text({ ...FIRST, version: 9 }, []), 'garbage\n']);
    await store.settled();
    assert.throws(() => readFileSync(path), /ENOENT/);
  });

  it('takes the later of several although an earlier one is unknown and old', async () => {
    const store = await open(text({ ...FIRST, version: 2 }));
    store.offer([text(FIRST), THIRD]);
    assert.equal(store.version, 3);
  });

  it('knows no key once what it has expired, still knows what is older, and is freed by a newer file', async () => {
    const store = await open();
    store.offer([THIRD]);
    now = '2026-12-31T23:59:59Z';
    assert.deepEqual(patchKeys(store), [release]);
    now = '2027-01-01T00:00:00Z';
    assert.deepEqual(patchKeys(store), []);
    store.offer([SECOND]);
    assert.deepEqual([store.version, patchKeys(store)], [3, []]);
    store.offer([text(without(BUILD.publicKey, 4))]);
    assert.deepEqual([store.version, patchKeys(store)], [4, [release]]);
  });

  it('does not open over a chain that is damaged, forged or cut off its start', async () => {
    const store = await open();
    store.offer([SECOND, THIRD]);
    await store.settled();
    const whole = JSON.parse(readFileSync(path, 'utf8')) as { chain: string[] };
    for (const wrong of [
      '',
      '{"format":1',
      '{"format":2,"chain":[]}',
      JSON.stringify({ ...whole, chain: [SECOND.replace('version 2', 'version 7')] }),
      JSON.stringify({ ...whole, chain: [SECOND, text(FIRST, [])] }),
    ]) {
      writeFileSync(path, wrong);
      await assert.rejects(open(), /are damaged/, wrong.slice(0, 60));
    }
  });

  it('prefers a pinned file that is newer than what it stored', async () => {
    const store = await open();
    store.offer([SECOND]);
    await store.settled();
    const newer = await open(text(without(BUILD.publicKey, 6)));
    assert.equal(newer.version, 6);
    newer.offer([text(without(BUILD.publicKey, 7))]);
    await newer.settled();
    assert.equal((await open(text(without(BUILD.publicKey, 6)))).version, 7);
  });
});
