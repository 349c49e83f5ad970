/** A gateway with a microcontroller behind it, by the built command line alone, on a mosquitto of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../support/free-port.js';
import { noise, sha256Hex } from '../support/make-patch.js';
import { PatchServer } from '../support/patch-server.js';
import { builtCli, runMallorn } from '../support/run-mallorn.js';
import { SimulatedBoard } from '../support/simulated-board.js';

const OLD = noise(4_000_000, 1);
const CHILD_OLD = noise(60_000, 3);
/** With a new tail, so that patches take a while at the pace below. */
const next = (old: Uint8Array): Uint8Array =>
  new Uint8Array([...old.subarray(0, old.length / 2), ...noise(old.length / 2, 9)]);

const MOSQUITTO = ['/usr/sbin/mosquitto', '/usr/bin/mosquitto'].find(existsSync) ?? 'mosquitto';

export class Gateway {
  readonly targets = { own: next(OLD), child: next(CHILD_OLD) };
  readonly brokerPort: number;
  private readonly folder: string;
  private readonly server: PatchServer;
  private readonly board: SimulatedBoard;
  private readonly broker: ChildProcess;
  private agent: ChildProcess | null = null;
  private agentLog = '';

  private constructor(folder: string, brokerPort: number, server: PatchServer, board: SimulatedBoard) {
    this.folder = folder;
    this.brokerPort = brokerPort;
    this.server = server;
    this.board = board;
    const config = join(folder, 'mosquitto.conf');
    writeFileSync(config, `user ${userInfo().username}\nlistener ${brokerPort} 127.0.0.1\nallow_anonymous true\n`);
    this.broker = spawn(MOSQUITTO, ['-c', config], { stdio: 'ignore' });
  }

  static async make(): Promise<Gateway> {
    const folder = mkdtempSync(join(tmpdir(), 'mallorn-gateway-'));
    for (const name of ['www', 'board']) mkdirSync(join(folder, name));
    await mallorn('keygen', '-o', join(folder, 'keys'));
    writeFileSync(join(folder, 'own.bin'), OLD);
    writeFileSync(join(folder, 'child.bin'), CHILD_OLD);
    const publicKey = new Uint8Array(readFileSync(join(folder, 'keys/mallorn.pub')));
    const board = new SimulatedBoard({ folder: join(folder, 'board'), model: CHILD_OLD, publicKey });
    await board.powerUp();
    return new Gateway(folder, await freePort(), await PatchServer.start(join(folder, 'www')), board);
  }

  get log(): string {
    return this.agentLog;
  }

  /** Begins to run it. `announces`: with discovery on. */
  startAgent(announces = true): void {
    const config = {
      device: 'gw-1',
      mqtt: { url: `mqtt://127.0.0.1:${this.brokerPort}`, reconnectMinMs: 50, reconnectMaxMs: 500 },
      model: { name: 'pose', slots: join(this.folder, 'slots') },
      children: [{ name: 'camera', port: this.board.url, model: { name: 'kws' } }],
      trustedKeys: ['keys/mallorn.pub'],
      stateFolder: 'state',
      consent: ['download'],
      maxBytesPerSecond: 400_000,
      ...(announces ? { homeAssistant: {} } : {}),
    };
    writeFileSync(join(this.folder, 'agent.json'), JSON.stringify(config));
    const args = [
      'agent',
      'run',
      '--config',
      join(this.folder, 'agent.json'),
      '--install',
      join(this.folder, 'own.bin'),
    ];
    const child = spawn(process.execPath, [builtCli, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.agentLog += text;
    });
    this.agent = child;
  }

  async endAgent(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const { agent } = this;
    this.agent = null;
    await end(agent, signal);
  }

  /** As a person tells the device; the new model's SHA-256, hex. */
  async publish(what: 'own' | 'child', version: string): Promise<string> {
    const target = join(this.folder, `${what}-${version}.bin`);
    writeFileSync(target, this.targets[what]);
    const child = what === 'child' ? ['--child', 'camera'] : [];
    // biome-ignore format: a command line
    await mallorn('publish', join(this.folder, `${what}.bin`), target, '-o', join(this.folder, 'www'), '--base-url', this.server.url,
      '--model', what === 'own' ? 'pose' : 'kws', '--version', version, '--counter', '2', '--key', join(this.folder, 'keys/mallorn.key'),
      '--mqtt', `mqtt://127.0.0.1:${this.brokerPort}`, '--device', 'gw-1', ...child);
    return sha256Hex(this.targets[what]);
  }

  activeSha256(): string {
    return sha256Hex(new Uint8Array(readFileSync(join(this.folder, 'slots/current'))));
  }

  cutChild(): Promise<void> {
    return this.board.cutPower();
  }

  async close(): Promise<void> {
    await this.endAgent('SIGTERM');
    await this.board.stop();
    await this.server.stop();
    await end(this.broker, 'SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function mallorn(...args: string[]): Promise<void> {
  const { code, stderr } = await runMallorn(...args);
  if (code !== 0) throw new Error(`mallorn ${args.join(' ')}\n${stderr}`);
}

async function end(child: ChildProcess | null, signal: NodeJS.Signals): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}
