/** People at the device: the built agent, asked by the built command line. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { AgentStatus, UnitStatus } from '../agent/operations/operated.js';
import type { HistoryEntry } from '../agent/operations/update-history.js';
import { publishDesired } from '../agent/publish-desired.js';
import { SlotDirectory } from '../targets/node/slot-directory.js';
import { AgentRig, STRANGER, TOPICS } from './support/agent-rig.js';
import { noise, sha256Hex } from './support/make-patch.js';
import { parseMetrics } from './support/parse-metrics.js';
import { builtCli, type Run, runMallorn } from './support/run-mallorn.js';

const OLD = noise(100_000, 1);
const NEW = new Uint8Array([...OLD.subarray(0, 60_000), ...noise(50_000, 2)]);

describe('operating the agent', { timeout: 300_000 }, () => {
  let rig: AgentRig;
  afterEach(() => rig.stop());

  async function start(config: Record<string, unknown> = {}): Promise<void> {
    rig = await AgentRig.start({ installed: OLD, config });
    rig.startChild(builtCli);
    await rig.reported('no_wish');
  }

  const ask = (command: string, ...more: string[]): Promise<Run> =>
    runMallorn('agent', command, '--config', rig.configPath, ...more);

  async function askJson<T>(command: string, ...more: string[]): Promise<T> {
    const { code, stdout } = await ask(command, '--json', ...more);
    assert.equal(code, 0, stdout);
    return JSON.parse(stdout) as T;
  }

  async function until<T>(look: () => Promise<T>, accept: (value: T) => boolean): Promise<T> {
    for (const deadline = Date.now() + 30_000; ; await delay(20)) {
      const value = await look();
      if (accept(value)) return value;
      assert.ok(Date.now() < deadline, `${JSON.stringify(value)}\n${rig.log.join('\n')}`);
    }
  }

  it('status and history tell of an update, the history also after a restart', async () => {
    await start();
    const before = await askJson<AgentStatus>('status');
    assert.equal(before.device, 'gw-1');
    assert.equal(before.connection.connected, true);
    assert.equal(before.pid, rig.childPid);
    const [unit] = before.models;
    assert.deepEqual(unit?.slots, { active: { sha256: sha256Hex(OLD), size: OLD.length }, previous: null });
    assert.deepEqual(await askJson('history'), []);
    const document = await rig.publishFiles([OLD], NEW);
    await rig.wish(document);
    await rig.reported('up_to_date');
    const [after] = (await askJson<AgentStatus>('status')).models;
    assert.equal(after?.installed_version, '2.0');
    assert.equal(after?.slots?.previous?.sha256, sha256Hex(OLD));
    const history = await askJson<HistoryEntry[]>('history');
    assert.deepEqual(
      history.map(({ startedAtMs: _, endedAtMs: __, ...entry }) => entry),
      [
        {
          model: 'pose',
          from: { sha256: sha256Hex(OLD), version: null },
          to: { sha256: sha256Hex(NEW), version: '2.0' },
          outcome: 'installed',
          bytesDownloaded: document.patches[0]?.size,
          error: null,
        },
      ],
    );
    assert.equal(rig.server.bodyBytes, document.patches[0]?.size);
    await rig.killChild();
    const { code, stderr } = await ask('status');
    assert.equal(code, 6);
    assert.match(stderr, /no agent runs with this configuration/);
    rig.startChild(builtCli);
    await until(
      () => ask('history'),
      ({ code: again, stdout }) => again === 0 && /pose {2}[0-9a-f]{12} -> 2\.0 {2}installed/.test(stdout),
    );
    assert.deepEqual(await askJson('history'), history);
    assert.equal(statSync(join(rig.folder, 'agent-state/control.sock')).mode & 0o777, 0o600);
  });

  it('retry: what was given up gets another attempt, and says when there is none to give', async () => {
    await start();
    rig.server.fault = () => ({ kind: 'status', status: 404 });
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('failed');
    rig.server.fault = () => null;
    assert.equal((await ask('retry')).code, 0);
    await rig.reported('up_to_date');
    const { code, stdout } = await ask('retry', '--json');
    assert.deepEqual([code, JSON.parse(stdout).error.code], [1, 'NOTHING_TO_DO']);
    const outcomes = (await askJson<HistoryEntry[]>('history')).map(({ outcome, error }) => [outcome, error?.reason]);
    assert.deepEqual(outcomes, [
      ['failed', 'http-404'],
      ['installed', undefined],
    ]);
  });

  it('rollback: the model before is back, and the document that brought the other is refused', async () => {
    await start();
    assert.equal((await ask('rollback')).code, 1, 'there is no model before');
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('up_to_date');
    assert.equal((await ask('rollback', '--model', 'pose')).code, 0);
    assert.equal((await rig.reported('refused')).error?.reason, 'rollback-asked');
    assert.equal(rig.activeSha256(), sha256Hex(OLD));
    assert.equal((await askJson<HistoryEntry[]>('history')).at(-1)?.outcome, 'rolled-back');
  });

  it('confirm: a person vouches for a model whose health check would never say yes', async () => {
    await start({ health: { command: ['/bin/false'], intervalMs: 50, timeoutMs: 60_000 } });
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('testing');
    const [onTrial] = (await askJson<AgentStatus>('status')).models;
    assert.deepEqual(onTrial?.trial, { boots: 0 });
    assert.match((await ask('status')).stdout, /on trial +0 starts/);
    assert.equal((await askJson<UnitStatus>('confirm')).model, 'pose');
    await rig.reported('up_to_date');
    assert.equal((await askJson<AgentStatus>('status')).models[0]?.trial, null);
    assert.equal((await ask('confirm')).code, 1);
  });

  it('confirm: a person consents to the update that waits for it', async () => {
    await start({ consent: ['download', 'activate'] });
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('wait_confirmation');
    assert.equal(rig.server.gets, 0);
    assert.equal((await ask('confirm')).code, 0);
    await rig.reported('up_to_date');
    assert.equal((await ask('confirm')).code, 1);
  });

  it('several models: each is asked for by its name', async () => {
    rig = await AgentRig.start({ installed: OLD });
    const ears = join(rig.folder, 'ears');
    const slots = SlotDirectory.open(ears, { create: true });
    slots.install(NEW);
    slots.close();
    const models = [
      { name: 'eyes', slots: rig.slotsFolder },
      { name: 'ears', slots: ears },
    ];
    rig.configure({ model: undefined, models, homeAssistant: {} });
    rig.startChild(builtCli);
    await rig.broker.waitFor(TOPICS.state, (payload) => JSON.parse(payload).state === 'ready');
    for (const name of ['eyes', 'ears']) {
      const document = JSON.parse(rig.broker.payloadOf(`homeassistant/update/mallorn_gw-1_${name}/config`) ?? '{}');
      assert.equal(document.command_topic, `mallorn/v1/gw-1/cmd/install/${name}`);
      assert.equal(document.state_topic, `mallorn/v1/gw-1/reported/${name}`);
    }
    const document = { ...(await rig.publishFiles([NEW], OLD)), model: 'ears' };
    await publishDesired({ url: rig.broker.url, devices: ['gw-1'], model: 'ears', document });
    await until(
      () => askJson<HistoryEntry[]>('history'),
      (entries) => entries.some(({ model, outcome }) => model === 'ears' && outcome === 'installed'),
    );
    assert.deepEqual(await askJson('history', '--model', 'eyes'), []);
    const { code, stdout } = await ask('rollback', '--json');
    assert.deepEqual([code, JSON.parse(stdout).error.code], [1, 'WHICH_MODEL']);
    assert.equal((await ask('rollback', '--model', 'ears')).code, 0);
    const status = await until(
      () => askJson<AgentStatus>('status', '--model', 'ears'),
      ({ models: [unit] }) => unit?.status === 'refused',
    );
    assert.deepEqual(
      status.models.map(({ model, sha256 }) => [model, sha256]),
      [['ears', sha256Hex(NEW)]],
    );
  });

  it('one state folder has one agent, and the second leaves the first its socket', async () => {
    await start();
    const model = { name: 'pose', slots: join(rig.folder, 'other-slots') };
    SlotDirectory.open(model.slots, { create: true }).close();
    rig.configure({ model });
    const second = await runMallorn('agent', '--config', rig.configPath);
    assert.equal(second.code, 6);
    assert.match(second.stderr, new RegExp(`agent-state is in use by process ${rig.childPid}`));
    assert.equal((await askJson<AgentStatus>('status')).pid, rig.childPid);
  });

  it('a state folder whose path is too long for a socket keeps no agent from running', async () => {
    await start({ stateFolder: `${'x'.repeat(100)}` });
    assert.match(rig.log.join('\n'), /no control socket.*at most 107 bytes/);
    const { code, stderr } = await ask('status');
    assert.equal(code, 6);
    assert.match(stderr, /at most 107 bytes, got \d+: choose a shorter stateFolder/);
  });

  it('tells no secret: not in its log, its reports, its history or its answers', async () => {
    rig = await AgentRig.start({ installed: OLD });
    const secrets = ['Pa55word-of-mqtt', 'URL-pa55word', 'health-t0ken', 'patch-t0ken', 'redirect-t0ken'];
    const [password, urlPassword, health, patch, redirect] = secrets;
    rig.configure({
      mqtt: {
        url: rig.broker.url.replace('//', `//user:${urlPassword}@`),
        password,
        reconnectMinMs: 20,
        reconnectMaxMs: 50,
      },
      health: { url: `http://127.0.0.1:9/ok?token=${health}`, intervalMs: 20, timeoutMs: 100 },
      hooks: { postRollback: ['/bin/sh', '-c', `echo 'no https://x.example/?k=${health}' >&2; exit 1`] },
    });
    rig.startChild(builtCli);
    await rig.reported('no_wish');
    const document = await rig.publishFiles([OLD], NEW);
    const signed = document.patches[0];
    assert.ok(signed !== undefined);
    const withUrl = (url: string) => ({ ...document, patches: [{ ...signed, url }] });
    await rig.wish(withUrl(`ftp://host.example/p?sig=${patch}`));
    await rig.reported('refused');
    rig.server.fault = () => ({ kind: 'redirect', location: `http://10.0.0.1/p?sig=${redirect}` });
    await rig.wish({ ...withUrl(`${signed.url}?sig=${patch}`), version: '2.1' });
    await until(
      async () => rig.broker.payloadOf(TOPICS.reported) ?? '',
      (payload) => JSON.parse(payload).status === 'refused' && payload.includes('2.1'),
    );
    rig.server.fault = () => null;
    await rig.wish({ ...withUrl(`${signed.url}?sig=${patch}`), version: '2.2' });
    await until(
      async () => rig.broker.payloadOf(TOPICS.reported) ?? '',
      (payload) => payload.includes('unhealthy'),
    );
    const answers = [await ask('status'), await ask('history'), await ask('history', '--json')];
    rig.configure({ mqtt: { url: `mqtt//user:${urlPassword}@h`, password: 7 } });
    answers.push(await ask('status'));
    assert.match(answers.at(-1)?.stderr ?? '', /mqtt.url: expected a URL/);
    const reports = rig.broker.messages.filter(({ topic }) => topic !== TOPICS.desired);
    const state = readFileSync(join(rig.folder, 'agent-state/history.json'), 'utf8');
    const said = { log: rig.log.join('\n'), reports: JSON.stringify(reports), state, answers: JSON.stringify(answers) };
    assert.match(said.log, /postRollback/);
    assert.match(said.log, /url-refused/);
    for (const [where, text] of Object.entries(said)) {
      for (const secret of secrets) {
        const at = text.indexOf(secret);
        assert.equal(at, -1, `${secret} in ${where}: ${text.slice(Math.max(0, at - 200), at + 50)}`);
      }
    }
    const readable = readdirSync(join(rig.folder, 'agent-state')).filter(
      (name) => name.endsWith('.json') && (statSync(join(rig.folder, 'agent-state', name)).mode & 0o077) !== 0,
    );
    assert.deepEqual(readable, [], "the agent's files are its own to read: its state knows the patch's address");
  });

  it('metrics: Prometheus reads what really happened', async () => {
    const port = await freePort();
    await start({ metrics: { port }, health: { command: ['/bin/sleep', '0.3'], timeoutMs: 20_000 } });
    const scrape = async () => parseMetrics(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text());
    const gauge = async (name: string, labels: Record<string, string> = {}): Promise<number | undefined> =>
      (await scrape()).samples.find(
        (sample) =>
          sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
      )?.value;
    assert.equal(await gauge('mallorn_updates_total', { outcome: 'installed' }), 0);
    await rig.wish(await rig.publishFiles([OLD], NEW));
    await rig.reported('testing');
    assert.equal(await gauge('mallorn_model_on_trial', { model: 'pose' }), 1);
    await rig.reported('up_to_date');
    assert.equal(await gauge('mallorn_download_bytes_total', { model: 'pose' }), rig.server.bodyBytes);
    await rig.wish(await rig.publishFiles([NEW], OLD, { version: '3', patch: { privateKey: STRANGER.privateKey } }));
    await rig.reported('refused');
    assert.equal(await gauge('mallorn_updates_total', { model: 'pose', outcome: 'installed' }), 1);
    assert.equal(await gauge('mallorn_updates_total', { model: 'pose', outcome: 'refused' }), 1);
    assert.equal(await gauge('mallorn_model_status', { model: 'pose', status: 'refused' }), 1);
    assert.equal(await gauge('mallorn_model_info', { version: '2.0', sha256: sha256Hex(NEW) }), 1);
    assert.equal(await gauge('mallorn_model_on_trial'), 0);
    assert.equal(await gauge('mallorn_update_duration_seconds_count'), 2);
    const seconds = (await gauge('mallorn_update_duration_seconds_sum')) ?? 0;
    assert.ok(seconds > 0.3 && seconds < 60, `${seconds}`);
    const rssKiB = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${rig.childPid}/status`, 'utf8'))?.[1]);
    const rss = ((await gauge('process_resident_memory_bytes')) ?? 0) / 1024;
    assert.ok(Math.abs(rss - rssKiB) < rssKiB / 3, `${rss} and ${rssKiB} KiB`);
    assert.equal(await gauge('mallorn_mqtt_connected'), 1);
    assert.equal(await gauge('mallorn_mqtt_reconnects_total'), 0);
    rig.broker.dropConnections();
    await until(
      () => gauge('mallorn_mqtt_reconnects_total'),
      (count) => count === 1,
    );
    await until(
      () => gauge('mallorn_mqtt_connected'),
      (connected) => connected === 1,
    );
  });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
