import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { permanent } from './failure.js';
import { jsonLog } from './log.js';
import { redactor, redactText } from './redact.js';

describe('redaction', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['mqtts://gw:p@ss:word@broker:8883/x', 'mqtts://***@broker:8883/x'],
    ['GET https://s3.example/a.mlrn?X-Amz-Signature=ab&b=c#d failed', 'GET https://s3.example/a.mlrn?*** failed'],
    ['"https://h/p#token" and wss://u@h', '"https://h/p#***" and wss://***@h'],
    ['https://h/a@b/c is no user', 'https://h/a@b/c is no user'],
    ['a: -----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY----- b', 'a: *** b'],
    ['-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4C', '***'],
    ['what is this? a#b', 'what is this? a#b'],
  ];
  for (const [text, expected] of cases) {
    it(`${JSON.stringify(text)} becomes ${JSON.stringify(expected)}`, () => assert.equal(redactText(text), expected));
  }

  it('hides known secrets wherever they stand, also as a URL spells them', () => {
    const redact = redactor(['hun/ter2', undefined, 'ab']);
    assert.deepEqual(redact({ a: ['x hun/ter2 y', { b: 'hun%2Fter2' }], n: 7, z: null, s: 'ab' }), {
      a: ['x *** y', { b: '***' }],
      n: 7,
      z: null,
      s: 'ab',
    });
  });

  it('hides what has the name of a secret, and bytes', () => {
    assert.deepEqual(
      redactor([])({ password: 'x', privateKey: 'y', clientToken: 'z', key: new Uint8Array(2), k: new Uint8Array(1) }),
      {
        password: '***',
        privateKey: '***',
        clientToken: '***',
        key: '***',
        k: '***',
      },
    );
  });

  it('takes no longer on text made to be slow', () => {
    const startedMs = performance.now();
    for (const part of ['a://', 'a.', '://a@', 'a://?', '@', '-----BEGIN PRIVATE KEY-----'])
      redactText(part.repeat(100_000));
    assert.ok(performance.now() - startedMs < 2000);
  });

  it('is done to every failure at its birth', () => {
    assert.equal(permanent('x', 'http://u:p@h/?q').message, 'http://***@h/?***');
  });
});

describe('log', () => {
  it('writes lines of the level and above, with a time or without', () => {
    const lines: string[] = [];
    const log = jsonLog((line) => lines.push(line), { level: 'warn', timestamps: false, redact: redactor(['s3cret']) });
    log('info', 'no');
    log('warn', 'yes', { at: 'mqtt://s3cret' });
    jsonLog((line) => lines.push(line), { now: () => new Date(0) })('info', 'timed');
    assert.deepEqual(lines, [
      '{"level":"warn","message":"yes","at":"mqtt://***"}\n',
      '{"time":"1970-01-01T00:00:00.000Z","level":"info","message":"timed"}\n',
    ]);
  });
});
