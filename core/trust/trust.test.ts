/** Trust files: what is read, what follows what, and which keys count when. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MallornError } from '../errors.js';
import { toHex } from '../hex.js';
import { testSigner } from '../patch/build-patch.test.js';
import type { Signer } from '../ports.js';
import { acceptTrust, readPinnedTrust, usableKeys } from './accept-trust.js';
import { encodeTrust, momentOf, parseTrust, splitTrust, type Trust } from './trust-file.js';
import { BUILD, FIRST, RELEASE, ROOTS, signedBody, signedTrust, sorted, VERIFIER } from './trust-rig.test.js';

const [one, two, three] = ROOTS as [Signer, Signer, Signer];
const stranger = testSigner(31);
const next = (changes: Partial<Trust>): Trust => ({ ...FIRST, version: 2, ...changes });

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof MallornError, String(error));
    return error.code;
  }
  return 'accepted';
}

describe('a trust file', () => {
  test('reads back as it was written', () => {
    const full: Trust = { ...FIRST, expires: '2027-12-31T00:00:00Z', revoked: [stranger.publicKey] };
    for (const trust of [FIRST, full]) assert.deepEqual(parseTrust(encodeTrust(trust)), trust);
    const file = signedTrust(full, [two, one]);
    const split = splitTrust(file);
    assert.equal(split.body, encodeTrust(full));
    assert.deepEqual(
      split.signatures.map(({ publicKey }) => toHex(publicKey)),
      [two, one].map(({ publicKey }) => toHex(publicKey)),
    );
  });

  const body = encodeTrust({ ...FIRST, revoked: [stranger.publicKey] });
  const line = (index: number): string => body.split('\n')[index]!;
  for (const [what, wrong] of [
    ['another kind of file', body.replace('mallorn-trust', 'mallorn-rust')],
    ['a future format', body.replace('trust 1', 'trust 2')],
    ['version 0', body.replace('version 1', 'version 0')],
    ['a version with leading zeros', body.replace('version 1', 'version 01')],
    ['a version of 2^32', body.replace('version 1', `version ${2 ** 32}`)],
    ['a version of 2^53', body.replace('version 1', `version ${2 ** 53}`)],
    ['a date that is none', body.replace('expires never', 'expires 2027-02-31T00:00:00Z')],
    ['a date without a time', body.replace('expires never', 'expires 2027-02-03')],
    ['threshold 0', body.replace('threshold 2', 'threshold 0')],
    ['a threshold above the number of roots', body.replace('threshold 2', 'threshold 4')],
    ['no roots', body.replace(/root .*\n/g, '')],
    ['a root twice', body.replace(line(4), `${line(4)}\n${line(4)}`)],
    ['roots out of order', body.replace(`${line(4)}\n${line(5)}`, `${line(5)}\n${line(4)}`)],
    ['upper-case digits', body.replace(line(4), line(4).toUpperCase().replace('ROOT', 'root'))],
    ['a key without roles', body.replace(/ (image,)?patch never/, '  never')],
    ['an unknown role', body.replace('patch never', 'boot never')],
    ['roles out of order', body.replace('image,patch', 'patch,image')],
    ['a word behind an expiry', body.replace('patch never', 'patch never ever')],
    ['a root that is a signing key', body.replace(/key [0-9a-f]+/, line(4).replace('root', 'key'))],
    ['a revoked key that is listed', body.replace(/revoked [0-9a-f]+/, line(4).replace('root', 'revoked'))],
    ['a line nobody knows', `${body}comment hello\n`],
    ['an empty line', body.replace('threshold', '\nthreshold')],
    ['lines in another order', body.replace('expires never\nthreshold 2', 'threshold 2\nexpires never')],
    ['carriage returns', body.replaceAll('\n', '\r\n')],
    ['other characters', body.replace('never', 'nëver')],
    ['no line feed at its end', body.slice(0, -1)],
    ['too many roots', body.replace(line(4), Array.from({ length: 17 }, () => line(4)).join('\n'))],
    ['nothing', ''],
  ] as const) {
    test(`with ${what} is refused, whoever signed it`, () => {
      assert.notEqual(wrong, body, 'the test changes something');
      assert.equal(
        refusal(() => readPinnedTrust(signedBody(wrong, ROOTS), VERIFIER)),
        'BAD_TRUST',
      );
    });
  }

  test('is refused for what stands behind its signatures, for too many of them, and when it is too long', () => {
    const file = signedTrust(FIRST, ROOTS);
    const text = new TextDecoder().decode(file);
    const last = text.trimEnd().split('\n').at(-1)!;
    for (const wrong of [
      `${text}x\n`,
      `${text}\n`,
      `${text}root 00\n`,
      text.replace(last, `${last} x`),
      text + `${last}\n`.repeat(30),
      text + `${last}\n`.repeat(400),
    ])
      assert.equal(
        refusal(() => readPinnedTrust(new TextEncoder().encode(wrong), VERIFIER)),
        'BAD_TRUST',
      );
  });

  test('knows the moments there are', () => {
    assert.equal(momentOf('2028-02-29T23:59:59Z'), '2028-02-29T23:59:59Z');
    for (const wrong of ['2027-02-29T00:00:00Z', '2027-01-01T24:00:00Z', '2027-01-01T00:00:60Z', ''])
      assert.throws(() => momentOf(wrong), { code: 'BAD_TRUST' });
  });
});

describe('the pinned file', () => {
  test('is signed by enough of its own roots', () => {
    assert.deepEqual(readPinnedTrust(signedTrust(FIRST, [one, three]), VERIFIER), FIRST);
    for (const signers of [[], [one], [one, one], [one, stranger], [one, RELEASE]])
      assert.equal(
        refusal(() => readPinnedTrust(signedTrust(FIRST, signers), VERIFIER)),
        'THRESHOLD_NOT_MET',
      );
  });
});

describe('the next file', () => {
  const accept = (trust: Trust, signers: readonly Signer[], current = FIRST): string =>
    refusal(() => acceptTrust(current, signedTrust(trust, signers), VERIFIER));

  test('is taken when enough roots signed it and it is newer, by one version or by many', () => {
    assert.equal(accept(next({}), [one, two]), 'accepted');
    assert.equal(accept(next({ version: 900 }), [three, two]), 'accepted');
    assert.equal(accept(next({}), [stranger, three, two]), 'accepted', 'strangers do no harm');
  });

  test('needs the roots of now and its own, when it changes them', () => {
    const fresh = sorted([testSigner(14), testSigner(15)]);
    const rotated = next({ roots: fresh.map(({ publicKey }) => publicKey) });
    assert.equal(accept(rotated, [one, two, ...fresh]), 'accepted');
    for (const signers of [[one, two], [one, two, fresh[0]!], fresh, [one, ...fresh]])
      assert.equal(accept(rotated, signers), 'THRESHOLD_NOT_MET');
  });

  test('needs the threshold of now when it lowers it, and its own when it raises it', () => {
    assert.equal(accept(next({ threshold: 1 }), [one]), 'THRESHOLD_NOT_MET');
    assert.equal(accept(next({ threshold: 1 }), [one, two]), 'accepted');
    assert.equal(accept(next({ threshold: 3 }), [one, two]), 'THRESHOLD_NOT_MET');
    assert.equal(accept(next({ threshold: 3 }), ROOTS), 'accepted');
  });

  test('is refused when it is older, the same or forgets a revocation, also where the present one has expired', () => {
    const current = { ...FIRST, version: 5, expires: '2020-01-01T00:00:00Z', revoked: [stranger.publicKey] };
    assert.equal(accept({ ...current, version: 4 }, ROOTS, current), 'TRUST_ROLLED_BACK');
    assert.equal(accept(current, ROOTS, current), 'TRUST_ROLLED_BACK');
    assert.equal(accept({ ...current, version: 6, revoked: [] }, ROOTS, current), 'TRUST_ROLLED_BACK');
    assert.equal(accept({ ...current, version: 6 }, ROOTS, current), 'accepted');
  });

  test('is not parsed before it is authenticated', () => {
    const garbage = encodeTrust(next({})).replace('version 2', 'version x');
    assert.equal(
      refusal(() => acceptTrust(FIRST, signedBody(garbage, [one, stranger]), VERIFIER)),
      'THRESHOLD_NOT_MET',
    );
    assert.equal(
      refusal(() => acceptTrust(FIRST, signedBody(garbage, [one, two]), VERIFIER)),
      'BAD_TRUST',
    );
  });

  test('with any byte changed is never taken for another', () => {
    const file = signedTrust(next({}), [one, two]);
    for (let at = 0; at < file.length; at++) {
      const damaged = file.slice();
      damaged[at]! ^= 1 << (at % 8);
      const code = refusal(() => acceptTrust(FIRST, damaged, VERIFIER));
      assert.ok(code === 'THRESHOLD_NOT_MET' || code === 'BAD_TRUST', `byte ${at}: ${code}`);
    }
  });
});

describe('a signing key', () => {
  const hex = (keys: readonly Uint8Array[]): string[] => keys.map(toHex).sort();
  const all = hex([RELEASE.publicKey, BUILD.publicKey]);

  test('counts for its roles', () => {
    assert.deepEqual(hex(usableKeys(FIRST, 'patch', null)), all);
    assert.deepEqual(usableKeys(FIRST, 'image', null), [RELEASE.publicKey]);
  });

  test('counts until it or the file expires, where there is a clock; without one expiry says nothing', () => {
    const expires = '2027-06-01T00:00:00Z';
    const keys = FIRST.keys.map((key) => (key.publicKey === BUILD.publicKey ? { ...key, expires } : key));
    const trust = { ...FIRST, keys, expires: '2028-01-01T00:00:00Z' };
    for (const [now, usable] of [
      ['2027-05-31T23:59:59Z', all],
      ['2027-06-01T00:00:00Z', hex([RELEASE.publicKey])],
      ['2027-12-31T23:59:59Z', hex([RELEASE.publicKey])],
      ['2028-01-01T00:00:00Z', []],
      [null, all],
    ] as const)
      assert.deepEqual(hex(usableKeys(trust, 'patch', now)), usable, String(now));
  });
});
