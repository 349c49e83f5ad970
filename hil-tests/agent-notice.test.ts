/** The application learns of another model: by a file that it watches and by a signal, with the real agent and real slots. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { AgentRig, playAgentRole } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';

const OLD = noise(100_000, 1);
const NEW = new Uint8Array([...OLD.subarray(0, 60_000), ...noise(50_000, 2)]);

/** Says for each signal what it finds as the model then. */
const APPLICATION = `
const { readFileSync } = require('node:fs');
const { createHash } = require('node:crypto');
process.on('SIGUSR1', () => console.log(createHash('sha256').update(readFileSync(process.argv[1])).digest('hex')));
setInterval(() => {}, 1000);
console.log('up');
`;

if (!playAgentRole()) {
  describe('notice of a new model', {
    timeout: 120_000,
    skip: process.platform === 'win32' && 'has no signals',
  }, () => {
    let rig: AgentRig;
    let application: ChildProcess | null = null;
    afterEach(async () => {
      application?.kill('SIGKILL');
      application = null;
      await rig.stop();
    });

    const noticePath = () => join(rig.slotsFolder, 'current.json');
    const pidPath = () => join(rig.folder, 'app.pid');
    const notice = () => JSON.parse(readFileSync(noticePath(), 'utf8')) as Record<string, unknown>;

    async function start(extra: Record<string, unknown> = {}): Promise<void> {
      rig = await AgentRig.start({ installed: OLD });
      rig.configure({ notify: { file: noticePath(), signal: 'SIGUSR1', pidFile: pidPath() }, ...extra });
    }

    async function startApplication(): Promise<string[]> {
      const heard: string[] = [];
      const child = spawn(process.execPath, ['-e', APPLICATION, join(rig.slotsFolder, 'current')], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      application = child;
      child.stdout.on('data', (chunk) => heard.push(...String(chunk).trim().split('\n')));
      await once(child.stdout, 'data');
      heard.length = 0;
      writeFileSync(pidPath(), `${child.pid}\n`);
      return heard;
    }

    async function until(reached: () => boolean): Promise<void> {
      for (const deadline = Date.now() + 20_000; !reached(); await delay(5)) {
        assert.ok(Date.now() < deadline, rig.log.join('\n'));
      }
    }

    it('at a switch and at a way back, once each, whole, when the model is in its place', async () => {
      await start();
      const heard = await startApplication();
      const agent = await rig.startAgent();
      await until(() => heard.length === 1);
      const seen: string[] = [];
      const watcher = watch(rig.slotsFolder, (_, name) => {
        if (name === 'current.json') seen.push(readFileSync(noticePath(), 'utf8'));
      });
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await until(() => heard.length === 2);
      assert.deepEqual(notice(), {
        model: 'pose',
        sha256: sha256Hex(NEW),
        version: '2.0',
        path: join(rig.slotsFolder, 'current'),
      });
      await rig.reported('up_to_date');
      agent.units[0]?.runtime.rollBack();
      await until(() => heard.length === 3);
      assert.equal(notice()['sha256'], sha256Hex(OLD));
      await rig.reported('refused');
      await until(() => seen.some((text) => JSON.parse(text).sha256 === sha256Hex(OLD)));
      watcher.close();
      assert.deepEqual(heard, [OLD, NEW, OLD].map(sha256Hex), 'what the application found at the stable path');
      assert.equal(statSync(noticePath()).mode & 0o777, 0o644, 'another user reads it');
      await rig.stopAgent();
      await rig.startAgent();
      await rig.reported('refused');
      await delay(100);
      assert.equal(heard.length, 3, 'a restart tells nothing that is known');
    });

    it('before the health check asks: it cannot be well with a model that it does not know of', async () => {
      await start({ health: { command: ['/bin/true'], intervalMs: 10, timeoutMs: 10_000 } });
      rig.configure({
        notify: { file: noticePath() },
        health: { command: ['/bin/grep', '-q', sha256Hex(NEW), noticePath()], intervalMs: 5000, timeoutMs: 100 },
      });
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('up_to_date');
    });

    it('of a switch that a crash kept quiet at the next start', async () => {
      await start();
      await rig.startAgent();
      await until(() => existsSync(noticePath()));
      await rig.stopAgent();
      const memory = join(rig.folder, 'agent-state/notified.json');
      await until(() => existsSync(memory));
      writeFileSync(memory, JSON.stringify({ sha256: sha256Hex(NEW) }));
      const heard = await startApplication();
      await rig.startAgent();
      await until(() => heard.length === 1);
    });

    it('an application that does not run, or a file that names no process, costs the update nothing', async () => {
      await start();
      for (const text of ['', '1', '-1', '0', 'x', '999999999']) {
        writeFileSync(pidPath(), text);
        await rig.stopAgent();
        await rig.startAgent();
      }
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('up_to_date');
      assert.match(rig.log.join('\n'), /the application was not signalled/);
    });
  });
}
