import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { parseDesired } from './desired.js';
import { MAX_DESIRED_BYTES } from './limits.js';

const HEX = 'ab'.repeat(32);
const PATCH = { baseSha256: HEX, profile: 'gateway', url: 'https://models.example/p', size: 10 };
const DOCUMENT = { model: 'm', version: '1', targetSha256: HEX, patches: [PATCH], fullImage: null };

const parse = (value: unknown) => parseDesired(new TextEncoder().encode(JSON.stringify(value)));
const problem = (value: unknown) => {
  const parsed = parse(value);
  return parsed.kind === 'unreadable' ? parsed.message : parsed.kind;
};

describe('desired', () => {
  it('takes an empty payload for no wish', () => {
    assert.deepEqual(parseDesired(new Uint8Array(0)), { kind: 'none' });
  });

  it('takes a document, with or without a full image', () => {
    assert.equal(parse(DOCUMENT).kind, 'want');
    assert.equal(parse({ ...DOCUMENT, fullImage: { url: 'http://h/f', size: 5 } }).kind, 'want');
    const { fullImage: _, ...without } = DOCUMENT;
    assert.equal(parse(without).kind, 'want');
  });

  it('names the same document alike, whatever its spelling', () => {
    const id = (value: unknown) => {
      const parsed = parse(value);
      return parsed.kind === 'want' ? parsed.desired.id : assert.fail(problem(value));
    };
    const { model, ...rest } = DOCUMENT;
    assert.equal(id({ ...rest, model, comment: 'hello' }), id(DOCUMENT));
    assert.equal(id({ ...DOCUMENT, targetSha256: HEX.toUpperCase() }), id(DOCUMENT));
    assert.notEqual(id({ ...DOCUMENT, version: '2' }), id(DOCUMENT));
  });

  it('names an order to more devices by another id and the same orderId', () => {
    const want = (value: unknown, origin?: string) => {
      const parsed = parseDesired(new TextEncoder().encode(JSON.stringify(value)), origin);
      return parsed.kind === 'want' ? parsed.desired : assert.fail(problem(value));
    };
    const [few, more] = [0.1, 0.5].map((fraction) => want({ ...DOCUMENT, rollout: { fraction } }));
    assert.notEqual(few?.id, more?.id);
    assert.equal(few?.orderId, more?.orderId);
    assert.equal(few?.orderId, want(DOCUMENT).orderId);
    assert.notEqual(few?.orderId, want({ ...DOCUMENT, rollout: { fraction: 0.1 } }, 'job').orderId);
    // As the agent before this one named it: a refusal that it saved is still about this document.
    assert.equal(want(DOCUMENT).id, createHash('sha256').update(JSON.stringify(DOCUMENT)).digest('hex'));
  });

  it('refuses what is out of bounds and says where', () => {
    assert.match(problem({ ...DOCUMENT, targetSha256: 'ab' }), /targetSha256: expected 64 hex digits/);
    assert.match(
      problem({ ...DOCUMENT, patches: [{ ...PATCH, url: 'ftp://h/p' }] }),
      /patches\.0\.url: expected an http or https URL/,
    );
    assert.match(
      problem({ ...DOCUMENT, patches: [{ ...PATCH, url: `https://h/${'x'.repeat(3000)}` }] }),
      /patches\.0\.url/,
    );
    assert.match(problem({ ...DOCUMENT, patches: [{ ...PATCH, size: 1.5 }] }), /patches\.0\.size/);
    assert.match(problem({ ...DOCUMENT, patches: [{ ...PATCH, size: 2 ** 53 }] }), /patches\.0\.size/);
    assert.match(problem({ ...DOCUMENT, patches: Array.from({ length: 257 }, () => PATCH) }), /patches/);
    assert.match(problem({ ...DOCUMENT, version: '' }), /version/);
    assert.match(problem({ ...DOCUMENT, rollout: { fraction: 1.1 } }), /rollout\.fraction/);
    assert.match(problem({ ...DOCUMENT, rollout: { fraction: 1, windowSeconds: 0 } }), /rollout\.windowSeconds/);
    assert.match(problem([]), /\(document\)/);
    assert.match(problem('x'.repeat(MAX_DESIRED_BYTES)), /at most 131072 bytes/);
  });

  it('refuses what is not JSON or not UTF-8', () => {
    for (const bytes of [[0x7b], [0xff, 0xfe], [0]]) {
      const parsed = parseDesired(Uint8Array.from(bytes));
      assert.equal(parsed.kind, 'unreadable');
    }
  });
});
