/** Keys in the forms people have them in. The PEM blocks were written by OpenSSL 3.0, from a seed of 32 bytes of 1. */

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { testKeypair } from '../../hil-tests/support/make-patch.js';
import { isEncryptedKey, readPrivateKey, readPublicKey, writePrivateKey, writePublicKey } from './key-files.js';

const { publicKey, privateKey } = testKeypair(1);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (file: Uint8Array): string => new TextDecoder().decode(file);

const PUBLIC_PEM = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=
-----END PUBLIC KEY-----
`;
const PRIVATE_PEM = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
-----END PRIVATE KEY-----
`;
const PASSPHRASE = 'correct';
const PBKDF2_PEM = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg0K5abXo/HqAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEKOiYIgap/IfE3SRccaHoE8EQKDf
Gr5BKCUzpbKjulSCJGGcYYfXuCzPwQsxn/DgE2mDDkXd6ZS6GU9qx5DUM+dAO2n4
g3D/azabXE2s5Jiew28=
-----END ENCRYPTED PRIVATE KEY-----
`;
const SCRYPT_PEM = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGTME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAgDloFwgh7TywICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBBgE7r+DdthJjNOyOUyipx6BECag84s0oxeanm/
zMI7kzDy/7Rg6WqZawZrJFQa+VyavRONFwvGF84FJ/83VzwPDvvv/Tl68DH1Akp8
Y5AJVYnb
-----END ENCRYPTED PRIVATE KEY-----
`;
const SSH_LINE = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c release key\n`;

describe('a public key', () => {
  test('is read from raw bytes, PEM and the line of OpenSSH alike, with and without what follows the key', () => {
    const windows = PUBLIC_PEM.replaceAll('\n', '\r\n');
    for (const file of [publicKey, ...[PUBLIC_PEM, windows, SSH_LINE, SSH_LINE.replace(/ release.*/s, '')].map(bytes)])
      assert.deepEqual(readPublicKey(file), publicKey);
  });

  test('is written as others write it', () => {
    assert.equal(text(writePublicKey(publicKey, 'pem')), PUBLIC_PEM);
    assert.equal(text(writePublicKey(publicKey, 'ssh', 'release key')), SSH_LINE);
    assert.deepEqual(writePublicKey(publicKey, 'raw'), publicKey);
  });

  const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'pem', type: 'spki' });
  for (const [what, file, message] of [
    ['31 bytes', publicKey.subarray(1), /expected 32 raw bytes, PEM or a line/],
    ['no bytes', new Uint8Array(0), /got 0 other bytes/],
    ['a private key in PEM', bytes(PRIVATE_PEM), /is a private key/],
    ['an encrypted private key', bytes(PBKDF2_PEM), /is a private key/],
    ['PEM of another algorithm', bytes(String(rsa)), /expected Ed25519, got rsa/],
    ['damaged PEM', bytes(PUBLIC_PEM.replace('MCow', 'MCox')), /not readable PEM/],
    ['two lines of OpenSSH', bytes(SSH_LINE + SSH_LINE), /expected one line, got 2/],
    ['a line of another type', bytes(SSH_LINE.replace('ssh-ed25519', 'ssh-rsa')), /other bytes/],
    ['a line that says it is of another type', bytes(SSH_LINE.replace('AC3N', 'AC3O')), /expected the base64/],
    ['a line cut short', bytes(SSH_LINE.replace('D29c', '')), /expected the base64/],
    ['a line with characters that base64 has not', bytes(SSH_LINE.replace('IIqI', 'IIq*')), /expected the base64/],
    ['a megabyte', new Uint8Array(1 << 20), /at most 16384 bytes/],
  ] as const) {
    test(`is not read from ${what}`, () => {
      assert.throws(
        () => readPublicKey(file),
        (error) => error instanceof RangeError && message.test(error.message),
      );
    });
  }
});

describe('a private key', () => {
  test('is read from raw bytes and PKCS#8, encrypted with PBKDF2 or scrypt', () => {
    for (const [file, passphrase] of [
      [privateKey, undefined],
      [bytes(PRIVATE_PEM), undefined],
      [bytes(PBKDF2_PEM), PASSPHRASE],
      [bytes(SCRYPT_PEM), PASSPHRASE],
    ] as const) {
      assert.deepEqual(readPrivateKey(file, passphrase), privateKey);
      assert.equal(isEncryptedKey(file), passphrase !== undefined);
    }
  });

  test('is written as OpenSSL writes it, and encrypted where there is a passphrase', () => {
    assert.equal(text(writePrivateKey(privateKey, 'pem')), PRIVATE_PEM);
    assert.deepEqual(writePrivateKey(privateKey, 'raw'), privateKey);
    const encrypted = writePrivateKey(privateKey, 'raw', 'open sesame');
    assert.ok(isEncryptedKey(encrypted));
    assert.deepEqual(readPrivateKey(encrypted, 'open sesame'), privateKey);
    assert.throws(() => readPrivateKey(encrypted, 'open sesamE'), /wrong passphrase/);
    assert.notDeepEqual(writePrivateKey(privateKey, 'pem', 'open sesame'), encrypted, 'salted');
  });

  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' });
  const halves = privateKey.slice();
  halves[40]! ^= 1;
  for (const [what, file, message] of [
    ['63 bytes', privateKey.subarray(1), /expected 64 raw bytes or PKCS#8/],
    ['halves that disagree', halves, /second half/],
    ['a public key', bytes(PUBLIC_PEM), /expected 64 raw bytes or PKCS#8/],
    ['PEM of another algorithm', bytes(String(ec)), /expected Ed25519, got ec/],
    ['encrypted PEM without a passphrase', bytes(PBKDF2_PEM), /needs a passphrase/],
    ['OpenSSH', bytes('-----BEGIN OPENSSH PRIVATE KEY-----\n'), /expected PKCS#8/],
  ] as const) {
    test(`is not read from ${what}, and no message quotes the file`, () => {
      assert.throws(
        () => readPrivateKey(file),
        (error) => error instanceof RangeError && message.test(error.message) && !/MC4C|MIG/.test(error.message),
      );
    });
  }
});
