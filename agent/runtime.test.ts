import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ApplySession } from './apply-messages.js';
import { retryable } from './failure.js';
import { NO_CONDITIONS } from './holds.js';
import type { StateFile } from './json-file.js';
import type { Reported } from './reported.js';
import { AgentRuntime } from './runtime.js';

const OLD = 'aa'.repeat(32);
const NEW = 'bb'.repeat(32);
const died = { kind: 'failed', failure: retryable('worker-died', 'out of memory'), reachedBytes: 0 } as const;

class MemoryFile implements StateFile {
  value: unknown;
  broken = false;
  saves = 0;
  async load(): Promise<unknown> {
    return this.value;
  }
  async save(value: unknown): Promise<void> {
    this.saves++;
    if (this.broken) throw new Error('disk full');
    this.value = structuredClone(value);
  }
}

/** A device whose apply side is a script; it keeps to the rule that at most one session is open. */
class FakeDevice {
  readonly file = new MemoryFile();
  readonly reports: Reported[] = [];
  readonly log: string[] = [];
  active = OLD;
  opened = 0;
  open = 0;
  /** Consulted per session, in the order they are opened; the last stays. */
  slotReplies: Array<'fine' | 'dies'> = ['fine'];

  runtime(): AgentRuntime {
    return new AgentRuntime({
      settings: {
        model: 'pose',
        device: 'gw-1',
        consent: [],
        conditions: NO_CONDITIONS,
        fullImage: 'never',
        maxPatchBytes: 1000,
        allowedHosts: ['127.0.0.1'],
        allowInsecureHttp: false,
        policyId: 'p',
        trialBoots: 1,
        retry: { maxAttempts: 3, minDelayMs: 1, maxDelayMs: 4 },
      },
      limits: { maxResumes: 0, resumeDelayMs: 1, stallTimeoutMs: 100, minBytesPerSecond: 0 },
      stateFile: this.file,
      openSession: () => this.session(),
      publish: (reported) => this.reports.push(reported),
      log: (level, message) => this.log.push(`${level} ${message}`),
      random: () => 0,
    });
  }

  private session(): ApplySession {
    assert.equal(this.open, 0, 'the thread before this one has ended');
    this.open++;
    const reply = this.slotReplies[Math.min(this.opened++, this.slotReplies.length - 1)];
    return {
      readSlots: async () =>
        reply === 'dies' ? died : { kind: 'slots', active: { sha256: this.active }, trial: null },
      begin: async () => ({ kind: 'ok' }),
      push: async () => died,
      end: async () => ({ kind: 'ok' }),
      commit: async () => ({ kind: 'slots', active: { sha256: NEW }, trial: null }),
      confirm: async () => died,
      rollback: async () => died,
      close: async () => {
        this.open--;
      },
    };
  }

  async status(status: string): Promise<Reported> {
    for (let waited = 0; waited < 400; waited++) {
      const last = this.reports.at(-1);
      if (last?.status === status) return last;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`never ${status}: ${JSON.stringify(this.reports.at(-1))}`);
  }
}

/** Nobody listens on port 1 of loopback. */
const wish = (host: string) =>
  new TextEncoder().encode(
    JSON.stringify({
      model: 'pose',
      version: '2',
      targetSha256: NEW,
      patches: [{ baseSha256: OLD, profile: 'gateway', url: `https://${host}/p`, size: 10 }],
    }),
  );

describe('runtime', () => {
  it('knows what is installed once it has started, and holds no thread while idle', async () => {
    const device = new FakeDevice();
    const runtime = device.runtime();
    await runtime.start();
    assert.equal(runtime.reported().sha256, OLD);
    assert.equal(device.open, 0);
    await runtime.stop();
  });

  it('comes back after its thread has died', async () => {
    const device = new FakeDevice();
    device.slotReplies = ['dies', 'dies', 'fine'];
    const runtime = device.runtime();
    await runtime.start();
    assert.equal((await device.status('waiting')).error?.reason, 'worker-died');
    await device.status('no_wish');
    await runtime.stop();
  });

  it('goes on when its state cannot be saved', async () => {
    const device = new FakeDevice();
    device.file.broken = true;
    const runtime = device.runtime();
    await runtime.start();
    runtime.desired(wish('elsewhere.invalid'));
    assert.equal((await device.status('refused')).error?.reason, 'url-refused');
    assert.ok(device.log.includes('error cannot save state'));
    await runtime.stop();
  });

  it('says the same thing once', async () => {
    const device = new FakeDevice();
    const runtime = device.runtime();
    await runtime.start();
    const { length } = device.reports;
    for (let i = 0; i < 3; i++) runtime.desired(new Uint8Array(0));
    await runtime.stop();
    assert.equal(device.reports.length, length);
  });

  it('keeps order in a flood of changing wishes: one thread at a time, the last wish wins', async () => {
    const device = new FakeDevice();
    const runtime = device.runtime();
    await runtime.start();
    for (let i = 0; i < 20; i++) runtime.desired(i % 3 === 0 ? new Uint8Array(0) : wish('127.0.0.1:1'));
    runtime.desired(wish('elsewhere.invalid'));
    assert.equal((await device.status('refused')).error?.reason, 'url-refused');
    await runtime.stop();
    assert.equal(device.open, 0);
  });

  it('does nothing any more once stopped', async () => {
    const device = new FakeDevice();
    const runtime = device.runtime();
    await runtime.start();
    await runtime.stop();
    const { saves } = device.file;
    runtime.desired(wish('127.0.0.1:1'));
    await runtime.stop();
    assert.equal(device.file.saves, saves);
  });

  it('forgets a saved state of another version and says so', async () => {
    const device = new FakeDevice();
    device.file.value = { format: 99 };
    const runtime = device.runtime();
    await runtime.start();
    assert.equal(runtime.state.kind, 'idle');
    assert.ok(device.log.some((line) => line.startsWith('warn saved state')));
    await runtime.stop();
  });
});
