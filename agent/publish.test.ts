/** What a publisher is told when something is not there; that it publishes is for cli.test.ts and hil-tests. */

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { IoError } from '../core/errors.js';
import { type PublishOptions, publish } from './publish.js';
import { publishDesired } from './publish-desired.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-publish-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const model = join(folder, 'model');
writeFileSync(model, 'weights');

const options: PublishOptions = {
  createPatch: () => assert.fail('no patch is made'),
  model: 'pose',
  version: '2.0',
  olds: [],
  target: model,
  outDir: join(folder, 'www'),
  baseUrl: 'https://models.example/',
  patch: {},
};

describe('publish', () => {
  const missing = join(folder, 'missing');
  for (const [name, changed] of [
    ['a target that is missing', { target: missing }],
    ['an old version that is missing', { olds: [missing] }],
    ['a folder that cannot be made', { outDir: join(model, 'www') }],
    // In /proc mkdir(2) says ENOENT, which Node's recursive mkdir takes for a missing parent, for ever.
    ['a folder in /proc', { outDir: '/proc/mallorn/www' }],
  ] as const) {
    it(`of ${name} is an IoError that names it, and no document is written`, async () => {
      const { target, outDir } = { ...options, ...changed };
      const path = target === missing || 'olds' in changed ? missing : outDir;
      await assert.rejects(publish({ ...options, ...changed }), (error) => {
        assert.ok(error instanceof IoError, String(error));
        assert.ok(error.message.includes(path), error.message);
        return true;
      });
      assert.ok(!readdirSync(folder, { recursive: true, encoding: 'utf8' }).includes('www/desired.json'));
    });
  }
});

describe('publishDesired', () => {
  it('to a broker that is not there is an IoError, without the password in its message', async () => {
    const told = publishDesired({ url: 'mqtt://me:secret@127.0.0.1:1', devices: ['gw'], document: {} });
    await assert.rejects(told, (error) => {
      assert.ok(error instanceof IoError, String(error));
      assert.match(error.message, /127\.0\.0\.1:1/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });

  it('to a broker that hangs up on a publication is an IoError', { timeout: 10_000 }, async () => {
    const broker = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.write(Uint8Array.of(0x20, 2, 0, 0));
        socket.once('data', () => socket.destroy());
      });
    });
    await new Promise<void>((resolve) => broker.listen(0, '127.0.0.1', resolve));
    const { port } = broker.address() as AddressInfo;
    try {
      const told = publishDesired({ url: `mqtt://127.0.0.1:${port}`, devices: ['gw'], document: {} });
      await assert.rejects(told, { name: 'IoError', message: /connection lost/ });
    } finally {
      broker.close();
    }
  });

  it('to a URL that is no broker’s, or a name that is no device’s, is a RangeError', async () => {
    await assert.rejects(publishDesired({ url: 'broker', devices: ['gw'], document: {} }), RangeError);
    await assert.rejects(publishDesired({ url: 'mqtt://127.0.0.1:1', devices: ['a/b'], document: {} }), RangeError);
  });
});
