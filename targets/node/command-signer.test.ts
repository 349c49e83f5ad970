/** Signing by another program: what it is given, what is taken of it, and that nothing else is ever written. */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { makePatch, noise, testKeypair } from '../../hil-tests/support/make-patch.js';
import { createPatch, type ExternalSigner, IoError, SignatureError, signPatch, verifyPatch } from './index.js';
import { writePrivateKey } from './key-files.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-signer-'));
after(() => rmSync(folder, { recursive: true }));
const { publicKey, privateKey } = testKeypair(1);
const source = noise(5000, 1);
const target = noise(5000, 2);
const unsigned = makePatch(source, target);

const keyPath = join(folder, 'key.pem');
writeFileSync(keyPath, writePrivateKey(privateKey, 'pem'));
let programs = 0;

/** A signer in a file of its own; `answer` is what it makes of `message` and a signature by our key. */
function signer(answer: string, args: string[] = [], more: Partial<ExternalSigner> = {}): ExternalSigner {
  const path = join(folder, `signer-${programs++}.mjs`);
  const text = `import { readFileSync, writeSync } from 'node:fs';
import { createPrivateKey, sign } from 'node:crypto';
const message = readFileSync(process.argv[2] ?? 0);
const signature = sign(null, message, createPrivateKey(readFileSync(${JSON.stringify(keyPath)})));
${answer}`;
  writeFileSync(path, text);
  return { command: [process.execPath, path, ...args], publicKey, ...more };
}

const RAW = 'writeSync(1, signature);';
const output = join(folder, 'output');

describe('a signer outside the process', () => {
  test('makes the same patch as the key itself: over stdin or a file, answering bytes, hex or base64', async () => {
    const expected = join(folder, 'expected');
    await signPatch(unsigned, privateKey, expected);
    for (const [answer, args] of [
      [RAW, []],
      [RAW, ['{message}']],
      [`console.log(signature.toString('hex'));`, []],
      [`console.log(signature.toString('base64'));`, []],
    ] as const) {
      await signPatch(unsigned, signer(answer, [...args]), output);
      assert.deepEqual(readFileSync(output), readFileSync(expected));
      rmSync(output);
    }
  });

  test('signs a new patch too', async () => {
    await createPatch(source, target, output, { signer: signer(RAW) });
    const verification = await verifyPatch(source, output, { publicKey });
    assert.ok(verification.isValid() && verification.signatureValid);
    rmSync(output);
  });

  test('is run without a shell', async () => {
    const trap = join(folder, 'trap');
    const command = signer(RAW).command;
    await signPatch(unsigned, { command: [...command.slice(0, 2), '{message}', `; touch ${trap}`], publicKey }, output);
    assert.ok(!existsSync(trap));
    rmSync(output);
  });

  const flip = (index: number): string => `signature[${index}] ^= 1; ${RAW}`;
  for (const [what, external, kind, message] of [
    ["another key's signature", signer(RAW, [], { publicKey: testKeypair(2).publicKey }), SignatureError, /not verify/],
    ['a damaged R', signer(flip(3)), SignatureError, /no signature by the stated public key/],
    ['a damaged S', signer(flip(40)), SignatureError, /does not verify/],
    ['an S above the group order', signer(`signature[63] |= 0x20; ${RAW}`), SignatureError, /S is not below/],
    ['63 bytes', signer('writeSync(1, signature.subarray(1));'), SignatureError, /expected 64 bytes/],
    ['nothing', signer(''), SignatureError, /got 0 bytes/],
    ['a megabyte', signer('writeSync(1, Buffer.alloc(1 << 20));'), IoError, /signer/],
    ['a failure', signer(`${RAW} process.exit(3);`), IoError, /ended with code 3/],
    ['no answer', signer('setInterval(() => {}, 1000);', [], { timeoutMs: 300 }), IoError, /no answer within 300 ms/],
    ['no such program', { command: [join(folder, 'missing')], publicKey }, IoError, /ENOENT/],
  ] as const) {
    test(`leaves no patch behind when it gives ${what}`, async () => {
      for (const run of [
        () => signPatch(unsigned, external, output),
        () => createPatch(source, target, output, { signer: external }),
      ]) {
        await assert.rejects(run(), (error) => error instanceof kind && message.test(error.message));
        assert.ok(!readdirSync(folder).some((name) => name.startsWith('output')));
      }
    });
  }

  test('is refused before any file is opened where it can never work', async () => {
    const missing = join(folder, 'missing');
    for (const bad of [
      { command: [], publicKey },
      { command: ['x'], publicKey: publicKey.subarray(1) },
      { command: ['x'], publicKey, timeoutMs: 0 },
    ])
      await assert.rejects(signPatch(missing, bad, output), RangeError);
    const both = { privateKey, signer: { command: ['x'], publicKey } };
    await assert.rejects(createPatch(missing, missing, output, both), RangeError);
    const uncounted = { signer: { command: ['x'], publicKey } };
    await assert.rejects(createPatch(null, missing, output, uncounted), /must carry one/);
  });
});
