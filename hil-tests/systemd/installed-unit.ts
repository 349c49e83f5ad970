/** The packed package in a machine of systemd, installed as docs/operations.md tells, with Debian's mosquitto beside it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync, type MqttClient } from 'mqtt';
import type { Reported } from '../../agent/reported.js';
import { freePort } from '../support/free-port.js';
import { noise, sha256Hex } from '../support/make-patch.js';
import { PatchServer } from '../support/patch-server.js';
import { repoRoot } from '../support/paths.js';
import { runMallorn } from '../support/run-mallorn.js';
import { SystemdMachine } from './machine.js';

const OLD = noise(900_000, 1);
/** Patches of some 450 KB, so that an update can be met in the middle. */
const next = (seed: number): Uint8Array =>
  new Uint8Array([...OLD.subarray(200_000, 600_000), ...noise(450_000, seed), ...OLD.subarray(0, 50_000)]);

/** Where everybody may write, but for the unit. */
export const OPEN_FOLDER = '/srv/anybody';
export const SERVICE = 'mallorn-agent';

/** What each line of the instructions is replaced with to be tried here; every line is one of these or is run as it stands. */
const TRIED: readonly (readonly [RegExp, string])[] = [
  // From a registry the same comes.
  [/^npm install --global mallorn$/, 'npm install --global --no-audit --no-fund --prefer-offline /root/mallorn.tgz'],
  // Ctrl-C in the person's place.
  [/^(sudo -u mallorn) (mallorn agent run .*)$/, '$1 timeout --preserve-status -s INT 2 $2'],
];

/** Of Debian's minimal installations, which have no sudo. */
const SUDO = `sudo() {
  if [ "$1" != -u ]; then "$@"; return; fi
  local user=$2; shift 2
  setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"
}`;

export class InstalledUnit {
  readonly machine: SystemdMachine;
  readonly server: PatchServer;
  readonly reports: Reported[] = [];
  private readonly folder: string;
  private readonly broker: MqttClient;
  private readonly brokerUrl: string;
  private counter = 1;

  private constructor(
    machine: SystemdMachine,
    server: PatchServer,
    folder: string,
    brokerUrl: string,
    broker: MqttClient,
  ) {
    this.machine = machine;
    this.server = server;
    this.folder = folder;
    this.brokerUrl = brokerUrl;
    this.broker = broker;
    broker.on('message', (_, payload) => this.reports.push(JSON.parse(payload.toString())));
  }

  static async install(root: string): Promise<InstalledUnit> {
    const machine = await SystemdMachine.boot(root);
    const folder = mkdtempSync(join(tmpdir(), 'mallorn-unit-'));
    mkdirSync(join(folder, 'www'));
    try {
      const brokerUrl = await startBroker(machine);
      await installPackage(machine, folder, brokerUrl);
      const server = await PatchServer.start(join(folder, 'www'));
      return new InstalledUnit(machine, server, folder, brokerUrl, await observe(brokerUrl));
    } catch (cause) {
      const { stdout } = await machine.run('journalctl -o cat --no-pager | tail -40');
      await machine.close();
      rmSync(folder, { recursive: true });
      throw new Error(`cannot be installed; the journal's end:\n${stdout}`, { cause });
    }
  }

  /** As a person does at the device. */
  systemctl(...args: string[]): Promise<string> {
    return this.machine.must(`systemctl --no-pager ${args.join(' ')}`);
  }

  async property(name: string): Promise<string> {
    return this.systemctl('show', '--value', '-p', name, SERVICE);
  }

  /** Makes the patch from the first model to another new one and tells the device. The new one's SHA-256, hex. */
  async publish(): Promise<string> {
    this.counter++;
    const target = next(this.counter);
    const path = (name: string): string => join(this.folder, name);
    writeFileSync(path('v1.tflite'), OLD);
    writeFileSync(path('target.tflite'), target);
    // biome-ignore format: a command line
    const { code, stderr } = await runMallorn('publish', path('v1.tflite'), path('target.tflite'), '-o', path('www'),
      '--base-url', this.server.url, '--model', 'pose', '--version', `${this.counter}.0`, '--counter', `${this.counter}`,
      '--profile', 'mcu', '--key', path('keys/mallorn.key'), '--mqtt', this.brokerUrl, '--device', 'gw-1');
    if (code !== 0) throw new Error(stderr);
    return sha256Hex(target);
  }

  async reported(accept: (reported: Reported) => boolean, timeoutMs = 30_000): Promise<Reported> {
    for (const deadlineMs = Date.now() + timeoutMs; Date.now() < deadlineMs; await delay(20)) {
      const found = this.reports.find(accept);
      if (found !== undefined) return found;
    }
    const journal = await this.machine.run(`journalctl -u ${SERVICE} -o cat --no-pager | tail -30`);
    throw new Error(`not reported; last: ${JSON.stringify(this.reports.at(-1))}\n${journal.stdout}`);
  }

  /** The device has its first model again and knows of no wish. `changes`: of the configuration. */
  async backToFirst(changes: Record<string, unknown> = {}): Promise<void> {
    await this.systemctl('stop', SERVICE);
    await this.configure(changes);
    await this.broker.publishAsync('mallorn/v1/gw-1/desired', '', { qos: 1, retain: true });
    await this.machine.must('rm -rf /var/lib/mallorn/*');
    const commissions = instructions().filter((line) => line.includes('v1.tflite'));
    await this.machine.must([SUDO, ...commissions].join('\n'));
    await this.systemctl('start', SERVICE);
    this.server.fault = () => null;
    this.server.resetCounters();
    this.reports.length = 0;
  }

  /** For the next start or reload. */
  async configure(changes: Record<string, unknown>): Promise<void> {
    const config = { ...configOf(this.brokerUrl), ...changes };
    await this.machine.must('cat > /etc/mallorn/agent.json', JSON.stringify(config));
  }

  activeSha256(): Promise<string> {
    return this.machine.must('sha256sum < /var/lib/mallorn/pose/current | cut -d" " -f1');
  }

  journal(): Promise<string> {
    return this.machine.must(`journalctl -u ${SERVICE} -o cat --no-pager`);
  }

  async close(): Promise<void> {
    await this.broker.endAsync(true);
    await this.server.stop();
    await this.machine.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** The lines of the instructions' first block, as they are tried. */
function instructions(): string[] {
  const text = readFileSync(join(repoRoot, 'docs/operations.md'), 'utf8');
  const [, block] = /^## systemd\n+```\n([\s\S]*?)^```$/m.exec(text) ?? [];
  if (block === undefined) throw new Error('docs/operations.md has no instructions');
  return block
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/\s+#.*$/, ''))
    .map((line) => TRIED.reduce((tried, [pattern, replacement]) => tried.replace(pattern, replacement), line));
}

async function startBroker(machine: SystemdMachine): Promise<string> {
  const port = await freePort();
  const config = `listener ${port} 127.0.0.1\nallow_anonymous true\n`;
  await machine.must('mkdir -p /etc/mosquitto/conf.d && cat > /etc/mosquitto/conf.d/mallorn.conf', config);
  await machine.must('systemctl start mosquitto');
  return `mqtt://127.0.0.1:${port}`;
}

async function installPackage(machine: SystemdMachine, folder: string, brokerUrl: string): Promise<void> {
  const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
    cwd: repoRoot,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  const { code, stderr } = await runMallorn('keygen', '-o', join(folder, 'keys'));
  if (code !== 0) throw new Error(stderr);
  await machine.must('cat > mallorn.tgz', readFileSync(join(folder, filename)));
  await machine.must('cat > v1.tflite', OLD);
  await machine.must(`mkdir -m 1777 ${OPEN_FOLDER}`);
  const lines = instructions();
  // What the instructions say of the configuration: it is put into its folder once that is there.
  const folderMade = lines.findIndex((line) => line.includes('/etc/mallorn'));
  await machine.must(`${SUDO}\n${lines.slice(0, folderMade + 1).join('\n')}`);
  await machine.must('cat > /etc/mallorn/agent.json', JSON.stringify(configOf(brokerUrl)));
  await machine.must('cat > /etc/mallorn/mallorn.pub', readFileSync(join(folder, 'keys/mallorn.pub')));
  const variables = lines.filter((line) => /^[A-Z]+=/.test(line));
  await machine.must([SUDO, ...variables, ...lines.slice(folderMade + 1)].join('\n'));
}

function configOf(brokerUrl: string): Record<string, unknown> {
  const open = `${OPEN_FOLDER}/written`;
  return {
    device: 'gw-1',
    mqtt: { url: brokerUrl, reconnectMinMs: 50, reconnectMaxMs: 200 },
    model: { name: 'pose', slots: '/var/lib/mallorn/pose' },
    stateFolder: '/var/lib/mallorn/state',
    log: { timestamps: false },
    trustedKeys: ['mallorn.pub'],
    retry: { minDelayMs: 10, maxDelayMs: 200, resumeDelayMs: 20, stallTimeoutMs: 5000 },
    health: { command: ['/usr/bin/test', '-s', '/var/lib/mallorn/pose/current'] },
    // What else it may do is what its unit lets it: an error of this hook is logged.
    hooks: { postCommit: ['/usr/bin/touch', open] },
  };
}

async function observe(brokerUrl: string): Promise<MqttClient> {
  const client = await connectAsync(brokerUrl);
  await client.subscribeAsync('mallorn/v1/gw-1/reported', { qos: 1 });
  return client;
}
