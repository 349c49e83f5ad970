/** A machine with systemd as its process 1 (machine.sh), in which commands are run as root. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { repoRoot } from '../support/paths.js';

const SYSTEMD = 'usr/lib/systemd/systemd';
const BOOT_TIMEOUT_MS = 30_000;
const RUN_TIMEOUT_MS = 120_000;
const TOOLS = ['unshare', 'nsenter', 'pgrep', 'setpriv'];

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Why no machine can be made of this root folder here; null where it can. */
export function missingForMachine(root: string): string | null {
  if (process.platform !== 'linux') return 'systemd runs on Linux alone';
  if (process.getuid?.() !== 0) return 'namespaces and mounts want root';
  if (!existsSync(join(root, SYSTEMD))) return `no systemd in ${root}`;
  const tool = TOOLS.find((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
  if (tool !== undefined) return `no ${tool}`;
  for (const program of ['node', 'npm', 'mosquitto']) {
    const places = ['usr/bin', 'usr/local/bin', 'usr/sbin', 'usr/local/sbin'];
    // A service sees these folders alone.
    if (!places.some((place) => existsSync(join(root, place, program)))) return `no ${program} in ${root}'s usr`;
  }
  const { status, stderr } = spawnSync('unshare', ['--mount', '--pid', '--fork', '--cgroup', 'true']);
  return status === 0 ? null : `no namespaces: ${stderr}`.trim();
}

export class SystemdMachine {
  private readonly folder: string;
  private readonly child: ChildProcess;
  private readonly pid: number;
  private readonly said: readonly string[];

  private constructor(folder: string, child: ChildProcess, pid: number, said: readonly string[]) {
    this.folder = folder;
    this.child = child;
    this.pid = pid;
    this.said = said;
  }

  static async boot(root: string): Promise<SystemdMachine> {
    const folder = mkdtempSync(join(tmpdir(), 'mallorn-machine-'));
    const script = join(repoRoot, 'hil-tests/systemd/machine.sh');
    const child = spawn(script, [folder, root], { stdio: ['pipe', 'pipe', 'pipe'] });
    const said: string[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => said.push(text));
    const deadlineMs = Date.now() + BOOT_TIMEOUT_MS;
    for (;;) {
      const pid = Number(/^booting (\d+)$/m.exec(said.join(''))?.[1] ?? 0);
      const machine = new SystemdMachine(folder, child, pid, said);
      if (pid > 0 && (await machine.run('systemctl is-system-running')).stdout.trim() === 'running') return machine;
      if (Date.now() > deadlineMs || child.exitCode !== null) {
        await machine.close();
        throw new Error(`does not boot:\n${said.join('')}`);
      }
      await delay(100);
    }
  }

  /** What systemd itself says. */
  get log(): string {
    return this.said.join('');
  }

  get version(): string {
    return (
      execFileSync('nsenter', [...this.into(), 'systemctl', '--version'], { encoding: 'utf8' }).split('\n')[0] ?? ''
    );
  }

  /** A shell's script as root; what it reads from its standard input, if anything. */
  async run(script: string, input: string | Uint8Array = ''): Promise<Run> {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_TEST)/.test(name)));
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    const options = { env: { ...env, PATH: path, HOME: '/root' }, timeout: RUN_TIMEOUT_MS };
    const child = spawn('nsenter', [...this.into(), 'bash', '-ec', `cd; ${script}`], options);
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    // A script that does not read may be gone before it is written to.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    await once(child, 'close');
    return { code: child.exitCode, stdout, stderr };
  }

  /** Its standard output. @throws where it does not end with code 0 */
  async must(script: string, input: string | Uint8Array = ''): Promise<string> {
    const { code, stdout, stderr } = await this.run(script, input);
    if (code !== 0) throw new Error(`${script}\nended with code ${code}\n${stdout}${stderr}`);
    return stdout.trim();
  }

  /** @throws with what it gave last, after `timeoutMs` */
  async until(script: string, accept: (stdout: string) => boolean, timeoutMs = 30_000): Promise<string> {
    for (const deadlineMs = Date.now() + timeoutMs; ; await delay(100)) {
      const { stdout, stderr } = await this.run(script);
      if (accept(stdout.trim())) return stdout.trim();
      if (Date.now() > deadlineMs) throw new Error(`${script}\nstill gives\n${stdout}${stderr}`);
    }
  }

  /** Everything in it ends at once. */
  async close(): Promise<void> {
    const gone = this.child.exitCode === null ? once(this.child, 'close') : null;
    this.child.stdin?.end();
    await gone;
    rmSync(this.folder, { recursive: true, force: true });
  }

  private into(): string[] {
    return ['--target', `${this.pid}`, '--mount', '--pid', '--uts', '--ipc', '--cgroup'];
  }
}
