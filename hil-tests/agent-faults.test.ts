/** The built agent on media that are full, read-only, failing or rotten: what it says, what is served, and that it recovers. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { AgentRig, type PublishExtra, type RigOptions, TOPICS, TRUSTED } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';
import { repoRoot } from './support/paths.js';
import { Tmpfs } from './support/tmpfs.js';

const CLI = join(repoRoot, 'dist/cli.js');
const FAILING_FS = join(repoRoot, 'hil-tests/support/failing-fs.cjs');
const OLDER = noise(300_000, 4);
const OLD = noise(400_000, 1);
const NEW = new Uint8Array(Buffer.concat([noise(350_000, 2), OLD.subarray(300_000)]));
/** Tests of what is retried must not wait long, nor give up. */
const PATIENT = { retry: { minDelayMs: 20, maxDelayMs: 100, maxAttempts: 1000, stallTimeoutMs: 2000 } };
const BY_SEGMENTS: PublishExtra = { patch: { profile: 'mcu', privateKey: TRUSTED.privateKey, versionCounter: 2 } };
const NEEDS_MOUNT = { skip: Tmpfs.missing() };
const NEEDS_PROC = { skip: !existsSync('/proc/self/fd') && 'needs /proc' };

describe('the built agent', { timeout: 300_000 }, () => {
  let rig: AgentRig;
  let disk: Tmpfs | null = null;
  afterEach(async () => {
    await rig.stop();
    disk?.unmount();
    disk = null;
  });

  async function startRig(options: Partial<RigOptions> = {}): Promise<AgentRig> {
    rig = await AgentRig.start({ installed: OLD, config: PATIENT, ...options });
    return rig;
  }

  /** Slots and state of the agent on a disk of 2 MiB. */
  async function startOnSmallDisk(options: Partial<RigOptions> = {}): Promise<Tmpfs> {
    disk = Tmpfs.mount(2 << 20)!;
    const config = { ...PATIENT, stateFolder: join(disk.path, 'state') };
    await startRig({ config, slotsFolder: join(disk.path, 'slots'), ...options });
    return disk;
  }

  async function reportedError(pattern: RegExp): Promise<void> {
    await rig.broker.waitFor(TOPICS.reported, (text) => pattern.test(JSON.parse(text).error?.message ?? ''));
    assert.equal(rig.activeSha256(), sha256Hex(OLD), 'the old model is served');
  }

  async function reportedNew(): Promise<void> {
    await rig.reported('up_to_date');
    assert.deepEqual(rig.activeModel(), NEW);
  }

  async function progressed(percent: number): Promise<void> {
    await rig.broker.waitFor(TOPICS.reported, (text) => JSON.parse(text).progress >= percent);
  }

  it('keeps the previous model where the new one has no room, and updates once it has', NEEDS_MOUNT, async () => {
    const small = await startOnSmallDisk({ installed: OLDER });
    rig.startChild(CLI);
    await rig.wish(await rig.publishFiles([OLDER], OLD));
    await rig.reported('up_to_date');
    small.fill(100_000);
    await rig.wish(await rig.publishFiles([OLD], NEW, { version: '3.0' }));
    await reportedError(/no space left for the new model: expected \d+ bytes, got \d+/);
    assert.deepEqual(new Uint8Array(readFileSync(join(rig.slotsFolder, 'a.model'))), OLDER, 'the previous model');
    rmSync(join(small.path, 'filler'));
    await reportedNew();
  });

  it('starts on a disk that others filled during its update, and goes on once there is room', NEEDS_MOUNT, async () => {
    const small = await startOnSmallDisk();
    const document = await rig.publishFiles([OLD], NEW, BY_SEGMENTS);
    rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 250 });
    await rig.wish(document);
    rig.startChild(CLI);
    await progressed(50);
    small.fill(0);
    await reportedError(/ENOSPC|no space left/);
    await rig.killChild();
    const { length } = rig.broker.messages;
    rig.startChild(CLI);
    await rig.broker.waitFor(TOPICS.state, () => rig.broker.messages.slice(length).some(isReady));
    await reportedError(/ENOSPC|no space left/);
    rig.server.fault = () => null;
    rig.server.resetCounters();
    rmSync(join(small.path, 'filler'));
    await reportedNew();
    const { size } = document.patches[0]!;
    assert.ok(rig.server.bodyBytes < size, `${rig.server.bodyBytes} of ${size} bytes: the journal was kept`);
  });

  it('says that its file system is read-only, and updates once it is not', NEEDS_MOUNT, async () => {
    const small = await startOnSmallDisk();
    rig.startChild(CLI);
    await rig.reported('no_wish');
    small.remount('ro');
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await reportedError(/EROFS/);
    small.remount('rw');
    await reportedNew();
  });

  it('does not start on a read-only file system, and says why', NEEDS_MOUNT, async () => {
    const small = await startOnSmallDisk();
    small.remount('ro');
    rig.startChild(CLI);
    assert.equal(await rig.childExit(), 6);
    assert.match(rig.log.join('\n'), /cannot lock .*EROFS/);
    assert.equal(rig.activeSha256(), sha256Hex(OLD));
    small.remount('rw');
    rig.startChild(CLI);
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await reportedNew();
  });

  for (const [what, call, path] of [
    ['writes to the new model', 'writeSync', 'b.model'],
    ['syncs of the new model', 'fsyncSync', 'b.model'],
    ['writes to the journal', 'writeSync', 'b.journal'],
    ['syncs of the journal', 'fsyncSync', 'b.journal'],
    ['writes of the state of the slots', 'writeSync', '/slots/.state.json.'],
    ['reads of the active model', 'readSync', 'a.model'],
  ] as const) {
    it(`says that ${what} fail, and updates once they do not`, NEEDS_PROC, async () => {
      await startRig();
      const flag = join(rig.folder, 'failing');
      writeFileSync(flag, '');
      rig.startChild(CLI, {
        NODE_OPTIONS: `--require ${FAILING_FS}`,
        MALLORN_FAULT: JSON.stringify({ call, path, flag }),
      });
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await reportedError(/EIO/);
      rmSync(flag);
      await reportedNew();
    });
  }

  it('refuses an update whose base has rotted in its slot, and serves on', async () => {
    await startRig();
    const rotten = rot(join(rig.slotsFolder, 'a.model'));
    await rig.wish(await rig.publishFiles([OLD], NEW));
    rig.startChild(CLI);
    const reported = await rig.reported('refused');
    assert.equal(reported.error?.reason, 'source-hash-mismatch');
    assert.equal(rig.activeSha256(), sha256Hex(rotten));
  });

  it('replaces a rotten base by the whole model where its policy allows', async () => {
    await startRig({ config: { ...PATIENT, fullImage: 'always' } });
    rot(join(rig.slotsFolder, 'a.model'));
    await rig.wish(await rig.publishFiles([OLD], NEW, { fullImage: true }));
    rig.startChild(CLI);
    await reportedNew();
  });

  it('replaces a base that rots during the update by the whole model where its policy allows', async () => {
    await startRig({ config: { ...PATIENT, fullImage: 'always' } });
    rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 100 });
    await rig.wish(await rig.publishFiles([OLD], NEW, { ...BY_SEGMENTS, fullImage: true }));
    rig.startChild(CLI);
    await progressed(20);
    rot(join(rig.slotsFolder, 'a.model'));
    rig.server.fault = () => null;
    await reportedNew();
    assert.match(rig.log.join('\n'), /the active model changed while it was read/);
  });
});

/** Turns one bit of what an update copies last. */
function rot(path: string): Uint8Array {
  const file = openSync(path, 'r+');
  const at = OLD.length - 1;
  writeSync(file, Uint8Array.of((OLD[at] ?? 0) ^ 1), 0, 1, at);
  closeSync(file);
  return new Uint8Array(readFileSync(path));
}

function isReady({ topic, payload }: { topic: string; payload: string }): boolean {
  return topic === TOPICS.state && JSON.parse(payload).state === 'ready';
}
