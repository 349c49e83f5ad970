/** `mallorn agent --install`: how a device gets its first model. The built command line in a process of its own. */

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { EmbeddedBroker } from '../hil-tests/support/embedded-broker.js';
import { noise, sha256Hex, testKeypair } from '../hil-tests/support/make-patch.js';
import { repoRoot } from '../hil-tests/support/paths.js';
import type { Reported } from './reported.js';
import { DEFAULT_TOPIC_PREFIX, deviceTopics } from './topics.js';

const cli = join(repoRoot, 'dist/cli.js');
const first = noise(300_000, 1);
const second = noise(1000, 2);
let broker: EmbeddedBroker;
let folder: string;

before(async () => {
  broker = await EmbeddedBroker.start();
});
after(() => broker.stop());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mallorn-install-'));
  writeFileSync(at('first'), first);
  writeFileSync(at('second'), second);
  writeFileSync(at('trusted.pub'), testKeypair(1).publicKey);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);

function configFor(device: string): string {
  const config = {
    device,
    mqtt: { url: broker.url },
    model: { name: 'pose', slots: 'slots' },
    trustedKeys: ['trusted.pub'],
  };
  writeFileSync(at('agent.json'), JSON.stringify(config));
  return at('agent.json');
}

/** Runs the agent until it has reported, and ends it. Gives what it reported and logged. */
async function runUntilReported(
  device: string,
  ...more: readonly string[]
): Promise<{ reported: Reported; log: string }> {
  const child = spawn(process.execPath, [cli, 'agent', '--config', configFor(device), ...more]);
  let log = '';
  child.stderr.on('data', (text) => {
    log += text;
  });
  const ended = once(child, 'exit');
  const { reported: topic } = deviceTopics(DEFAULT_TOPIC_PREFIX, device);
  const payload = await Promise.race([
    broker.waitFor(topic, () => true, 10_000),
    ended.then(() => assert.fail(`the agent ended: ${log}`)),
  ]);
  child.kill('SIGTERM');
  await ended;
  return { reported: JSON.parse(payload) as Reported, log };
}

describe('agent --install', () => {
  test('makes the slots folder, installs the model and runs; then it is not needed any more', async () => {
    const { reported, log } = await runUntilReported('new', '--install', at('first'));
    assert.equal(reported.sha256, sha256Hex(first));
    assert.match(log, /factory model installed/);
    assert.deepEqual(new Uint8Array(readFileSync(at('slots/current'))), first);
    assert.equal((await runUntilReported('new-again')).reported.sha256, sha256Hex(first));
  });

  test('leaves a model alone that is there', async () => {
    await runUntilReported('kept', '--install', at('first'));
    const { reported, log } = await runUntilReported('kept-again', '--install', at('second'));
    assert.equal(reported.sha256, sha256Hex(first));
    assert.match(log, /factory model not needed/);
    assert.deepEqual(new Uint8Array(readFileSync(at('slots/current'))), first);
  });

  for (const [name, model, message] of [
    [
      'without it a missing slots folder is an error that names it',
      null,
      /expected the slots folder .*slots.*--install/,
    ],
    ['a model that is missing is an error, and no model is installed', 'nowhere', /nowhere/],
  ] as const) {
    test(name, async () => {
      const install = model === null ? [] : ['--install', at(model)];
      const args = [cli, 'agent', '--config', configFor('none'), ...install];
      const { code, stderr } = await new Promise<{ code: number | null; stderr: string }>((resolve) => {
        const child = execFile(process.execPath, args, (_error, _stdout, text) =>
          resolve({ code: child.exitCode, stderr: text }),
        );
      });
      assert.equal(code, 6, stderr);
      assert.match(stderr, message);
      assert.equal(existsSync(at('slots/current')), false);
      // The mistake is put right and the same folder works.
      assert.equal(
        (await runUntilReported(`after-${model}`, '--install', at('first'))).reported.sha256,
        sha256Hex(first),
      );
    });
  }
});
