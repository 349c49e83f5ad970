/**
 * The table of attacks, one test each: what somebody tries who owns the broker, the web server, an old patch, a signing key that
 * was taken back, or the slot folder. Each must end with the old model active and nothing of theirs in the slots.
 */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { DesiredDocument } from '../agent/desired.js';
import { failureOf } from '../agent/failure.js';
import { type ApplyOrder, type SessionRules, UpdateSession } from '../agent/update-session.js';
import { MemorySource } from '../core/memory-source.js';
import { buildPatch, testSigner, zstdSegment } from '../core/patch/build-patch.test.js';
import { FrameGeometry } from '../core/patch/frames.js';
import type { Signer } from '../core/ports.js';
import type { Trust } from '../core/trust/trust-file.js';
import { FIRST, ROOTS, signedTrust } from '../core/trust/trust-rig.test.js';
import { NodeHasher, NodeSignatureVerifier } from '../targets/node/hashing.js';
import { readPreamble } from '../targets/node/inputs.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { createDecompressor } from '../targets/node/zstd-decompressor.js';
import { AgentRig, playAgentRole, TRUSTED } from './support/agent-rig.js';
import { withHeader } from './support/forge-patch.js';
import { makePatch, noise, sha256, sha256Hex, testKeypair } from './support/make-patch.js';

const STRANGER = testKeypair(2);
const OLD = noise(60_000, 1);
const NEW = noise(60_000, 2);
const OPTIONS = { privateKey: TRUSTED.privateKey, profile: 'mcu', versionCounter: 2, minimumCounter: 2 } as const;
const PATCH = makePatch(OLD, NEW, { ...OPTIONS, family: 'pose', deviceClass: 'pi4' });
const { preambleBytes, headerBytes, header } = readPreamble(new MemorySource(PATCH));
const GEOMETRY = new FrameGeometry(header.frameBytes, header.bodyBytes);
const RULES: SessionRules = {
  trustedKeys: [TRUSTED.publicKey],
  family: null,
  deviceClass: null,
  maxTargetBytes: 1 << 20,
  maxBufferBytes: 1 << 26,
  trial: false,
};
const ORDER: ApplyOrder = { baseSha256: sha256Hex(OLD), targetSha256: sha256Hex(NEW) };

const frame = (index: number): Uint8Array => {
  const start = preambleBytes + GEOMETRY.wireOffset(index);
  return PATCH.subarray(start, start + GEOMETRY.lengthOf(index));
};
const FRAMES = Array.from({ length: GEOMETRY.count }, (_, i) => frame(i));
const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** A patch, and what the device is told of it and wants. */
interface Attack {
  readonly patch: Uint8Array;
  readonly rules?: Partial<SessionRules>;
  readonly order?: Partial<ApplyOrder>;
}

function defineSessionAttacks(): void {
  let folder: string;
  let slots: SlotDirectory;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mallorn-attack-'));
    slots = SlotDirectory.open(folder, { create: true });
    slots.install(OLD);
  });
  afterEach(() => {
    slots.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function openSession({ rules, order }: Omit<Attack, 'patch'>): UpdateSession {
    const ports = {
      slots,
      hasher: new NodeHasher(),
      verifier: new NodeSignatureVerifier(),
      decompressor: createDecompressor(),
    };
    return new UpdateSession(ports, { ...RULES, ...rules }, { ...ORDER, ...order });
  }

  /** Serves the attacker's file as a web server does, wherever the session seeks. */
  function apply(attack: Attack): void {
    const session = openSession(attack);
    for (let at = 0, requests = 0; ; requests++) {
      assert.ok(requests < 1000, 'asks a bounded number of times');
      const chunk = attack.patch.slice(at, at + 1000);
      if (chunk.length === 0) {
        session.end();
        throw new Error('the patch ended and the session did not mind');
      }
      const step = session.push(chunk);
      at = step.kind === 'seek' ? step.offset : at + chunk.length;
      if (step.kind === 'done') {
        session.commit();
        return;
      }
    }
  }

  function reasonOf(attack: Attack): string {
    try {
      apply(attack);
    } catch (error) {
      return failureOf(error).reason;
    }
    return 'applied';
  }

  const inSlot = (): Uint8Array => {
    const path = join(folder, 'b.model');
    return existsSync(path) ? new Uint8Array(readFileSync(path)) : new Uint8Array(0);
  };

  function assertOldModelServes(): void {
    assert.deepEqual(new Uint8Array(readFileSync(slots.currentPath)), OLD);
    assert.equal(sha256Hex(OLD), Buffer.from(slots.active()?.sha256 ?? []).toString('hex'));
  }

  function refuses(attack: Attack, reason: string): void {
    assert.equal(reasonOf(attack), reason);
    assert.equal(inSlot().length, 0, 'no byte reached the slot');
    assertOldModelServes();
  }

  /** What was authentic before the attack may lie in the slot: the target's start, and then nothing. */
  function refusesMidway(attack: Attack, reason: string): void {
    assert.equal(reasonOf(attack), reason);
    const written = inSlot();
    assert.deepEqual(written, NEW.subarray(0, written.length), 'only authenticated bytes reached the slot');
    assert.ok(written.length < NEW.length);
    assertOldModelServes();
  }

  test('the patch without any attack is applied', () => {
    apply({ patch: PATCH, rules: { family: 'pose', deviceClass: 'pi4' } });
    assert.deepEqual(new Uint8Array(readFileSync(slots.currentPath)), NEW);
  });

  test('a replayed older patch', () => {
    const back = makePatch(NEW, OLD, { ...OPTIONS, versionCounter: 1, minimumCounter: 0 });
    const full = makePatch(null, OLD, { ...OPTIONS, versionCounter: 1, minimumCounter: 0 });
    apply({ patch: PATCH });
    for (const [patch, baseSha256] of [
      [back, sha256Hex(NEW)],
      [full, null],
    ] as const) {
      const order = { baseSha256, targetSha256: sha256Hex(OLD) };
      assert.equal(reasonOf({ patch, order }), 'counter-too-low');
      assert.deepEqual(new Uint8Array(readFileSync(slots.currentPath)), NEW);
    }
  });

  test('a patch for another model', () => {
    refuses({ patch: PATCH, rules: { family: 'gesture' } }, 'wrong-family');
    const other = noise(60_000, 3);
    refuses({ patch: makePatch(other, NEW, OPTIONS) }, 'source-hash-mismatch');
    refuses({ patch: makePatch(OLD, other, OPTIONS) }, 'bad-header');
  });

  test('a patch for another device class', () => {
    refuses({ patch: PATCH, rules: { deviceClass: 'nano' } }, 'wrong-device-class');
  });

  test('a body swapped under a valid header', () => {
    const evil = makePatch(OLD, noise(60_000, 4), { ...OPTIONS, family: 'pose', deviceClass: 'pi4' });
    assert.equal(readPreamble(new MemorySource(evil)).preambleBytes, preambleBytes);
    refuses({ patch: concat(PATCH.subarray(0, preambleBytes), evil.subarray(preambleBytes)) }, 'bad-frame');
  });

  for (const [what, frames] of [
    ['a frame reordered', [...FRAMES.slice(0, 20), FRAMES[21]!, FRAMES[20]!, ...FRAMES.slice(22)]],
    ['a frame duplicated', [...FRAMES.slice(0, 20), FRAMES[19]!, ...FRAMES.slice(20)]],
    ['a frame dropped', [...FRAMES.slice(0, 20), ...FRAMES.slice(21)]],
  ] as const) {
    test(what, () => {
      refusesMidway({ patch: concat(PATCH.subarray(0, preambleBytes), ...frames) }, 'bad-frame');
    });
  }

  test('a signature stripped', () => {
    const stripped = concat(PATCH.subarray(0, headerBytes.length), Uint8Array.of(0), PATCH.subarray(preambleBytes));
    refuses({ patch: stripped }, 'unsigned');
  });

  test('a signature by an unknown key', () => {
    refuses({ patch: withHeader(PATCH, {}, STRANGER.privateKey) }, 'unknown-signer');
    const byStranger = makePatch(OLD, NEW, { ...OPTIONS, privateKey: STRANGER.privateKey });
    refuses({ patch: byStranger }, 'unknown-signer');
    // The stranger's signature under the trusted key's id.
    const posing = withHeader(PATCH, {}, STRANGER.privateKey);
    posing.set(PATCH.subarray(headerBytes.length + 1, headerBytes.length + 9), headerBytes.length + 1);
    refuses({ patch: posing }, 'bad-signature');
  });

  test('a signature by a key that is trusted for something else', () => {
    const alone = makePatch(null, NEW, OPTIONS);
    const rules = { imageKeys: [STRANGER.publicKey] };
    refuses({ patch: alone, rules, order: { baseSha256: null } }, 'unknown-signer');
    refuses({ patch: alone, rules }, 'wrong-base');
    refuses({ patch: PATCH, rules: { trustedKeys: [] } }, 'unknown-signer');
  });

  describe('a decompression bomb, by a signer gone bad', () => {
    const bomb = (plainBytes: number, declared: number, repeats: number): Uint8Array => {
      // RLE blocks of zstd (RFC 8878, 3.1.1.2.2): four bytes that stand for 128 KiB each.
      const block = (isLast: boolean): number[] => {
        const head = (131072 << 3) | (1 << 1) | (isLast ? 1 : 0);
        return [head & 0xff, (head >> 8) & 0xff, head >> 16, 0];
      };
      const packed = Uint8Array.from(Array.from({ length: repeats }, (_, i) => block(i === repeats - 1)).flat());
      const segment = zstdSegment({ at: 0, length: 16_384, plainBytes, packed });
      return buildPatch({
        source: OLD,
        target: NEW,
        segments: [{ kind: 'raw', bytes: segment }],
        signers: [BAD],
        header: { versionCounter: 2, packedBytes: packed.length, plainBytes: declared },
      }).bytes;
    };
    const BAD: Signer = testSigner(1);

    test('that unpacks to more than its segment says', () => {
      const before = process.memoryUsage().rss;
      refusesMidway({ patch: bomb(17_000, 17_000, 8000) }, 'bad-segment');
      assert.ok(process.memoryUsage().rss - before < 64 << 20, 'a gigabyte is not unpacked to find out');
    });

    test('that says it unpacks to more than its header declared', () => {
      refusesMidway({ patch: bomb(17_000, 100, 1) }, 'bad-segment');
    });

    test('that declares buffers beyond what the device allows', () => {
      refuses({ patch: bomb(17_000, 1 << 25, 1), rules: { maxBufferBytes: 1 << 20 } }, 'buffers-exceeded');
      refuses({ patch: withHeader(PATCH, { frameBytes: 2 ** 31 }, TRUSTED.privateKey) }, 'bad-header');
    });
  });

  test('sizes of 2^53 and about it, in every field that has room for them', () => {
    for (const size of [2 ** 48 + 1, 2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2, 2 ** 63, 2 ** 64 - 2 ** 11])
      for (const field of ['sourceSize', 'targetSize', 'bodyBytes', 'createdAt'] as const)
        refuses({ patch: withHeader(PATCH, { [field]: size }, TRUSTED.privateKey) }, 'bad-header');
    for (const field of ['packedBytes', 'plainBytes', 'dictionaryBytes', 'contextBytes', 'frameBytes'] as const)
      refuses({ patch: withHeader(PATCH, { [field]: 2 ** 32 - 1 }, TRUSTED.privateKey) }, 'bad-header');
    refuses({ patch: withHeader(PATCH, { targetSize: 2 ** 48 }, TRUSTED.privateKey) }, 'flash-exceeded');
  });

  test('a symlink in the slot folder', () => {
    const victim = join(folder, 'victim');
    writeFileSync(victim, 'precious');
    for (const name of ['b.model', 'b.journal']) {
      symlinkSync(victim, join(folder, name));
      assert.equal(reasonOf({ patch: PATCH }), 'io', name);
      slots.close();
      assert.throws(() => SlotDirectory.open(folder), { code: 'IO' }, name);
      unlinkSync(join(folder, name));
      slots = SlotDirectory.open(folder);
    }
    assert.equal(readFileSync(victim, 'utf8'), 'precious');
    assertOldModelServes();
  });

  test('a stand-alone patch without a counter', () => {
    const uncounted = makePatch(null, NEW, { privateKey: TRUSTED.privateKey, profile: 'mcu' });
    refuses({ patch: uncounted, order: { baseSha256: null } }, 'counter-missing');
  });
}

/** Against the whole agent, with a broker and a web server that belong to the attacker. */
function defineAgentAttacks(): void {
  let rig: AgentRig;
  afterEach(() => rig.stop());
  const signing = { publicKey: TRUSTED.publicKey, roles: ['patch'], expires: null } as const;
  const trustOf = (changes: Partial<Trust>): Trust => ({ ...FIRST, keys: [signing], ...changes });
  const text = (changes: Partial<Trust>, signers = ROOTS): string =>
    new TextDecoder().decode(signedTrust(trustOf(changes), signers));
  const REVOKED = { version: 3, keys: [], revoked: [TRUSTED.publicKey] };

  async function start(config: Record<string, unknown>, pinned = text({ version: 2 })): Promise<DesiredDocument> {
    rig = await AgentRig.start({ installed: OLD, config });
    writeFileSync(join(rig.folder, 'root.trust'), pinned);
    const document = await rig.publishFiles([OLD], NEW);
    await rig.startAgent();
    return document;
  }
  const BY_TRUST_FILE = { trustedKeys: undefined, trust: { root: 'root.trust' } };

  async function refuses(document: unknown, reason: string): Promise<void> {
    await rig.wish(document);
    const reported = await rig.reported('refused');
    assert.equal(reported.error?.reason, reason);
    assert.equal(rig.activeSha256(), sha256Hex(OLD));
    assert.ok(!existsSync(join(rig.slotsFolder, 'b.model')), 'no byte reached the slot');
    // So that the next refusal is not taken for this one.
    await rig.wish(null);
    await rig.reported('no_wish');
  }

  async function applies(document: unknown): Promise<void> {
    await rig.wish(document);
    await rig.reported('up_to_date');
    assert.equal(rig.activeSha256(), sha256Hex(NEW));
  }

  const stored = (): string => {
    const path = join(rig.folder, 'agent-state/trust.json');
    return existsSync(path) ? readFileSync(path, 'utf8') : 'nothing';
  };

  test('a key of the trust file signs what is applied, without any attack', async () => {
    await applies(await start(BY_TRUST_FILE));
  });

  test('a revoked key', async () => {
    const document = await start(BY_TRUST_FILE);
    await refuses({ ...document, trust: [text(REVOKED)] }, 'unknown-signer');
    await rig.stopAgent();
    assert.match(stored(), /version 3/);
    await rig.startAgent();
    await refuses(document, 'unknown-signer');
  });

  test('a trust file rolled back', async () => {
    const document = await start(BY_TRUST_FILE);
    await refuses({ ...document, trust: [text(REVOKED)] }, 'unknown-signer');
    for (const back of [text({ version: 2 }), text({ version: 1 }), text({ version: 4 })])
      await refuses({ ...document, trust: [back] }, 'unknown-signer');
    assert.match(rig.log.join('\n'), /TRUST_ROLLED_BACK/);
    await rig.stopAgent();
    assert.doesNotMatch(stored(), /version [14]/);
  });

  test('a threshold not met', async () => {
    const stranger = { publicKey: STRANGER.publicKey, roles: ['patch'], expires: null } as const;
    const document = await start(BY_TRUST_FILE, text({ version: 2, keys: [] }));
    for (const signers of [[], [ROOTS[0]!], [ROOTS[0]!, ROOTS[0]!], [ROOTS[0]!, testSigner(2)]]) {
      const forged = text({ version: 3, keys: [stranger, signing].reverse() }, signers);
      await refuses({ ...document, trust: [forged] }, 'unknown-signer');
    }
    assert.equal(stored(), 'nothing');
  });

  test('an expired key, on a device with a clock; without one it counts until it is revoked', async () => {
    const expired = text({ version: 2, keys: [{ ...signing, expires: '2020-01-01T00:00:00Z' }] });
    await refuses(await start(BY_TRUST_FILE, expired), 'unknown-signer');
    await rig.stop();
    const clockless = { ...BY_TRUST_FILE, trust: { root: 'root.trust', clock: 'none' } };
    await applies(await start(clockless, expired));
  });

  test('an expired trust file, which still knows what is older than itself', async () => {
    const expired = text({ version: 5, expires: '2020-01-01T00:00:00Z' });
    const document = await start(BY_TRUST_FILE, expired);
    await refuses({ ...document, trust: [text({ version: 4 })] }, 'unknown-signer');
    await applies({ ...document, trust: [text({ version: 6 })] });
  });

  test('a desired document with a file: URL, or any other that is not http', async () => {
    const document = await start({});
    const [patch] = document.patches;
    for (const url of [
      'file:///etc/passwd',
      'FILE:/etc/passwd',
      'data:,x',
      'ftp://127.0.0.1/p',
      'javascript:0',
      '/p',
      'mqtt:../../etc/passwd',
      'mqtt:a/b',
      'mqtt:+',
      'mqtt://127.0.0.1/p',
    ])
      await refuses({ ...document, patches: [{ ...patch, url }] }, 'bad-document');
    assert.equal(rig.server.gets, 0);
  });

  test('a desired document with a forbidden URL, by itself or by a redirect', async () => {
    const document = await start({ allowedHosts: ['127.0.0.1'] });
    const [patch] = document.patches;
    for (const url of [
      'https://elsewhere.example/p',
      'http://10.0.0.1/p',
      'http://u:p@127.0.0.1/p',
      'http://127.0.0.1.example/p',
      'mqtt:p.mlrn',
    ])
      await refuses({ ...document, patches: [{ ...patch, url }] }, 'url-refused');
    assert.equal(rig.server.gets, 0);
    for (const location of [
      'file:///etc/passwd',
      'http://169.254.169.254/latest/meta-data',
      'https://elsewhere.example/',
      'mqtt:p.mlrn',
    ]) {
      rig.server.fault = () => ({ kind: 'redirect', location });
      await refuses(document, 'url-refused');
    }
  });

  test('a desired document with sizes of 2^53, or a file larger than it says', async () => {
    const document = await start({});
    const [patch] = document.patches;
    for (const size of [2 ** 53, 2 ** 63, -1, 1.5])
      await refuses({ ...document, patches: [{ ...patch, size }] }, 'bad-document');
    await refuses({ ...document, patches: [{ ...patch, size: 2 ** 53 - 1 }] }, 'too-large');
    assert.equal(rig.server.gets, 0);
  });

  test('names in a desired document never become paths', async () => {
    const document = await start({});
    const outside = '../../../../../tmp/mallorn-escape';
    await applies({
      ...document,
      version: outside,
      patches: document.patches.map((one) => ({ ...one, name: outside })),
    });
    assert.ok(!existsSync('/tmp/mallorn-escape'));
    await rig.wish({ ...document, model: outside, targetSha256: sha256Hex(OLD) });
    assert.equal((await rig.reported('refused')).error?.reason, 'wrong-model');
    assert.ok(!existsSync('/tmp/mallorn-escape'));
  });
}

if (!playAgentRole()) {
  assert.ok(FRAMES.length > 40 && sha256(OLD).length === 32);
  describe('attacks on an update', defineSessionAttacks);
  describe('attacks on the agent', { timeout: 400_000 }, defineAgentAttacks);
}
