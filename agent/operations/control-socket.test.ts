import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { askAgent } from './control-client.js';
import { MAX_REQUEST_BYTES } from './control-messages.js';
import { ControlServer } from './control-server.js';
import type { OperatedAgent, OperatedUnit, UnitStatus } from './operated.js';

const folder = mkdtempSync(join(tmpdir(), 'mallorn-control-'));
const path = join(folder, 'control.sock');
after(() => rmSync(folder, { recursive: true }));

const statusOf = (model: string): UnitStatus => ({
  model,
  installed_version: '1',
  latest_version: null,
  sha256: null,
  status: 'no_wish',
  progress: null,
  trial: null,
  slots: null,
});

function agentOf(names: readonly string[], asked: string[]): OperatedAgent {
  const unit = (name: string): OperatedUnit => ({
    name,
    status: () => statusOf(name),
    retry: () => {
      asked.push(`retry ${name}`);
      return 'done';
    },
    rollBack: () => 'idle',
    confirm: () => {
      throw new Error('a bug');
    },
  });
  return {
    units: names.map(unit),
    history: () => [],
    status: () => ({
      device: 'gw',
      agentVersion: '1',
      pid: 1,
      startedAt: '',
      connection: { connected: true, broker: '', reconnects: 0 },
      models: names.map(statusOf),
    }),
  };
}

/** What comes back for raw bytes, written in these pieces. */
function raw(...pieces: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    socket.on('end', () => resolve(text));
    socket.on('error', reject);
    void (async () => {
      for (const piece of pieces) {
        socket.write(piece);
        await new Promise((next) => setTimeout(next, 2));
      }
    })();
  });
}

const code = async (...pieces: string[]): Promise<string> => JSON.parse(await raw(...pieces)).error.code;

describe('control socket', { skip: process.platform === 'win32' && 'has none' }, () => {
  let server: ControlServer;
  const asked: string[] = [];
  beforeEach(async () => {
    asked.length = 0;
    server = await ControlServer.open(path, agentOf(['eyes', 'ears'], asked), () => {});
  });
  afterEach(() => server.close());

  it('is for its owner alone, and gone afterwards', async () => {
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await server.close();
    assert.ok(!existsSync(path));
  });

  it('answers a line, whole, byte by byte, and with more behind it', async () => {
    const line = '{"command":"retry","model":"ears"}\n';
    for (const pieces of [[line], [...line], [`${line}{"command":"retry","model":"eyes"}\n`]]) {
      assert.equal(JSON.parse(await raw(...pieces)).result.model, 'ears');
    }
    assert.deepEqual(asked, ['retry ears', 'retry ears', 'retry ears']);
  });

  it('asks which model where there are several, and knows which there are', async () => {
    await assert.rejects(askAgent(path, { command: 'retry' }), { code: 'WHICH_MODEL', message: /eyes, ears/ });
    await assert.rejects(askAgent(path, { command: 'status', model: 'nose' }), { code: 'UNKNOWN_MODEL' });
    const status = (await askAgent(path, { command: 'status', model: 'ears' })) as { models: unknown[] };
    assert.deepEqual(status.models, [JSON.parse(JSON.stringify(statusOf('ears')))]);
  });

  it('says when there was nothing to do, and survives a bug of ours', async () => {
    await assert.rejects(askAgent(path, { command: 'rollback', model: 'ears' }), { code: 'NOTHING_TO_DO' });
    await assert.rejects(askAgent(path, { command: 'confirm', model: 'ears' }), { code: 'FAILED', message: 'a bug' });
  });

  it('refuses what is no request', async () => {
    for (const line of ['', '{', '[]', '{"command":"stop"}', '{"command":"status","x":1}']) {
      assert.equal(await code(`${line}\n`), 'BAD_REQUEST', line);
    }
  });

  it('takes no more than a bounded line', async () => {
    const request = '{"command":"status"}';
    const padded = (length: number) => request + ' '.repeat(length - request.length - 1);
    assert.ok('result' in JSON.parse(await raw(`${padded(MAX_REQUEST_BYTES)}\n`)));
    assert.equal(await code(`${padded(MAX_REQUEST_BYTES + 1)}\n`), 'TOO_LONG');
    assert.equal(await code('x'.repeat(MAX_REQUEST_BYTES + 1)), 'TOO_LONG');
  });

  it('a socket that a killed agent left behind is replaced; what is no socket stays', async () => {
    await server.close();
    const listen = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
    assert.equal(spawnSync(process.execPath, ['-e', listen]).signal, 'SIGKILL');
    assert.ok(existsSync(path));
    server = await ControlServer.open(path, agentOf(['eyes'], asked), () => {});
    assert.ok(await askAgent(path, { command: 'status' }));
    await server.close();
    writeFileSync(path, 'mine');
    await assert.rejects(
      ControlServer.open(path, agentOf([], []), () => {}),
      /expected a socket or nothing/,
    );
    rmSync(path);
  });

  it('says which path is too long, on both ends', async () => {
    const long = join(folder, 'x'.repeat(120));
    await assert.rejects(
      ControlServer.open(long, agentOf([], []), () => {}),
      /at most 107 bytes, got \d+.*stateFolder/,
    );
    await assert.rejects(askAgent(long, { command: 'status' }), /at most 107 bytes/);
  });

  it('says that no agent runs', async () => {
    await server.close();
    await assert.rejects(askAgent(path, { command: 'status' }), /no agent runs with this configuration/);
  });
});
