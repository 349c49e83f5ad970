import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseConsent, withConsent } from './consent.js';

const HEX = 'ab'.repeat(32);
const parse = (value: unknown) => parseConsent(new TextEncoder().encode(JSON.stringify(value)));
const problem = (value: unknown) => {
  const parsed = parse(value);
  return parsed.kind === 'unreadable' ? parsed.message : 'taken';
};

describe('consent', () => {
  it('is to the download and the switch of a target where it does not say to what, and never to a full image', () => {
    assert.deepEqual(parse({ targetSha256: HEX.toUpperCase() }), {
      kind: 'consent',
      consent: { targetSha256: HEX, for: ['download', 'activate'] },
    });
  });

  it('says what it cannot read', () => {
    assert.match(problem({}), /^consent: targetSha256: /);
    assert.match(problem({ targetSha256: HEX, for: [] }), /^consent: for: /);
    assert.match(problem({ targetSha256: HEX, for: ['everything'] }), /^consent: for\.0: /);
    assert.match(problem('x'.repeat(5000)), /^consent: expected at most 4096 bytes, got 5002/);
    assert.equal(parseConsent(Uint8Array.of(0xff)).kind, 'unreadable');
  });

  it('adds to what was consented before, and is the same list where it adds nothing', () => {
    const first = withConsent([], { targetSha256: HEX, for: ['activate'] });
    const both = withConsent(first, { targetSha256: HEX, for: ['download'] });
    assert.deepEqual(both, [{ targetSha256: HEX, for: ['download', 'activate'] }]);
    assert.equal(withConsent(both, { targetSha256: HEX, for: ['download'] }), both);
  });
});
