/** Home Assistant itself, in the folder of scripts/home-assistant-setup.sh, without a browser: its REST and websocket interfaces. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';

/** The parts it is made of here: what MQTT needs, and ways to ask. */
const CONFIGURATION = (port: number): string => `
homeassistant:
  name: test
  time_zone: UTC
http:
  server_host: 127.0.0.1
  server_port: ${port}
api:
config:
logger:
  default: warning
`;
const CLIENT_ID = 'http://127.0.0.1/';
/** Its parts install what else they want of Python at the first start. */
const START_TIMEOUT_MS = 300_000;
const CALL_TIMEOUT_MS = 60_000;

export interface EntityState {
  readonly entity_id: string;
  readonly state: string;
  readonly attributes: Readonly<Record<string, unknown>>;
}

export interface RegisteredDevice {
  readonly id: string;
  readonly name: string;
  readonly model: string | null;
  readonly via_device_id: string | null;
}

export class HomeAssistant {
  private readonly root: string;
  private readonly port: number;
  /** Of its configuration; below the root. */
  private readonly folder: string;
  private child: ChildProcess | null = null;
  private token = '';

  constructor(root: string, port: number) {
    this.root = root;
    this.port = port;
    this.folder = mkdtempSync(join(root, 'tmp/mallorn-ha-'));
    writeFileSync(join(this.folder, 'configuration.yaml'), CONFIGURATION(port));
  }

  static isIn(root: string): boolean {
    return existsSync(join(root, 'ha/bin/hass'));
  }

  /** What it has logged about MQTT, updates or us. */
  get complaints(): string[] {
    return this.log.split('\n').filter((line) => /mqtt|update\.|mallorn/i.test(line));
  }

  get version(): string {
    const ask = (...command: string[]): string => execFileSync('chroot', [this.root, ...command], { encoding: 'utf8' });
    return `Home Assistant ${ask('/ha/bin/hass', '--version').trim()}, ${ask('/ha/bin/python', '--version').trim()}`;
  }

  private get config(): string {
    return `/tmp/${basename(this.folder)}`;
  }

  get log(): string {
    const path = join(this.folder, 'home-assistant.log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** With one user, who is logged in. */
  async start(): Promise<void> {
    const isNew = this.token === '';
    const hass = ['chroot', this.root, '/ha/bin/hass', '-c', this.config];
    if (isNew)
      this.inRoot(['chroot', this.root, '/ha/bin/hass', '--script', 'auth', '-c', this.config, 'add', 'me', 'secret']);
    const log = join(this.folder, 'home-assistant.log');
    const child = spawn('unshare', [...this.namespaces(), 'sh', '-c', '"$@" > "$0" 2>&1', log, ...hass], {
      stdio: 'ignore',
    });
    this.child = child;
    const deadlineMs = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      if (isNew && this.token === '') this.token = await this.logIn().catch(() => '');
      const { state } = (await this.get('/api/config').catch(() => ({}))) as { state?: string };
      if (state === 'RUNNING') return;
      if (Date.now() > deadlineMs || child.exitCode !== null)
        throw new Error(`does not start\n${this.log.slice(-4000)}`);
      await delay(500);
    }
  }

  async stop(): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    // All of its namespace goes with it.
    child.kill('SIGKILL');
    await gone;
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** As its page for a new integration does. */
  async addMqtt(brokerPort: number): Promise<void> {
    const flows = '/api/config/config_entries/flow';
    let step = (await this.post(flows, { handler: 'mqtt' })) as FlowStep;
    if (step.type === 'menu')
      step = (await this.post(`${flows}/${step.flow_id}`, { next_step_id: 'broker' })) as FlowStep;
    const plain = { set_client_cert: false, set_ca_cert: 'off' };
    const { other_settings: others, ...defaults } = defaultsOf(step.data_schema);
    const answer = {
      ...defaults,
      broker: '127.0.0.1',
      port: brokerPort,
      other_settings: { ...(others as object), ...plain },
    };
    const end = (await this.post(`${flows}/${step.flow_id}`, answer)) as FlowStep;
    if (end.type !== 'create_entry') throw new Error(`expected an entry, got ${JSON.stringify(end).slice(0, 1000)}`);
  }

  async states(domain: string): Promise<EntityState[]> {
    const all = (await this.get('/api/states')) as EntityState[];
    return all.filter(({ entity_id }) => entity_id.startsWith(`${domain}.`));
  }

  /** Undefined for one that it does not know. */
  async state(entityId: string): Promise<EntityState | undefined> {
    return (await this.states(entityId.split('.')[0]!)).find(({ entity_id }) => entity_id === entityId);
  }

  async call(domain: string, service: string, entityId: string): Promise<void> {
    await this.post(`/api/services/${domain}/${service}`, { entity_id: entityId });
  }

  async devices(): Promise<RegisteredDevice[]> {
    return (await this.ask('config/device_registry/list')) as RegisteredDevice[];
  }

  get(path: string): Promise<unknown> {
    return this.request('GET', path);
  }

  post(path: string, body: unknown): Promise<unknown> {
    return this.request('POST', path, body);
  }

  private async request(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: {
        'content-type': 'application/json',
        ...(this.token === '' ? {} : { authorization: `Bearer ${this.token}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`);
    return JSON.parse(text);
  }

  /** One command over its websocket. */
  private async ask(type: string): Promise<unknown> {
    const socket = new WebSocket(`ws://127.0.0.1:${this.port}/api/websocket`);
    try {
      return await new Promise<unknown>((resolve, reject) => {
        setTimeout(() => reject(new Error(`no answer to ${type}`)), CALL_TIMEOUT_MS).unref();
        socket.on('error', reject);
        socket.on('message', (data) => {
          const message = JSON.parse(String(data)) as { type: string; success?: boolean; result?: unknown };
          if (message.type === 'auth_required') socket.send(JSON.stringify({ type: 'auth', access_token: this.token }));
          if (message.type === 'auth_ok') socket.send(JSON.stringify({ id: 1, type }));
          if (message.type === 'auth_invalid') reject(new Error('not let in'));
          if (message.type === 'result') (message.success ? resolve : reject)(message.result);
        });
      });
    } finally {
      socket.terminate();
    }
  }

  private async logIn(): Promise<string> {
    const body = { client_id: CLIENT_ID, handler: ['homeassistant', null], redirect_uri: CLIENT_ID };
    const { flow_id } = (await this.post('/auth/login_flow', body)) as FlowStep;
    const user = { client_id: CLIENT_ID, username: 'me', password: 'secret' };
    const { result } = (await this.post(`/auth/login_flow/${flow_id}`, user)) as { result: string };
    const response = await fetch(`http://127.0.0.1:${this.port}/auth/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'authorization_code', code: result, client_id: CLIENT_ID }),
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
    return ((await response.json()) as { access_token: string }).access_token;
  }

  private inRoot(command: readonly string[]): void {
    execFileSync('unshare', [...this.namespaces(), ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Its processes, and the view of them that it wants, end with the first of them. */
  private namespaces(): string[] {
    return ['--mount', '--pid', '--fork', '--kill-child', `--mount-proc=${join(this.root, 'proc')}`, '--'];
  }
}

interface FlowStep {
  readonly flow_id: string;
  readonly type: string;
  /** Of a form. */
  readonly data_schema: readonly FlowField[];
}

interface FlowField {
  readonly name: string;
  readonly required?: boolean;
  readonly default?: unknown;
  /** Of a section. */
  readonly schema?: readonly FlowField[];
}

/** What a person leaves as it is. */
function defaultsOf(fields: readonly FlowField[]): Record<string, unknown> {
  return Object.fromEntries(
    fields
      .filter(({ required }) => required)
      .map(({ name, schema, default: value }) => [name, schema === undefined ? value : defaultsOf(schema)]),
  );
}
