/** Brokers a fleet is tested on: both are killed without a word and come back on the same port. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { EmbeddedBroker } from '../support/embedded-broker.js';
import { freePort } from '../support/free-port.js';

/** As in the agent's configuration. */
export interface Access {
  readonly url: string;
  readonly caPath?: string;
  readonly certPath?: string;
  readonly keyPath?: string;
}

export interface FleetBroker {
  readonly name: string;
  readonly protocols: readonly (4 | 5)[];
  access(user: string): Access;
  kill(): Promise<void>;
  start(): Promise<void>;
}

export class EmbeddedFleetBroker implements FleetBroker {
  readonly name = 'embedded broker';
  readonly protocols = [4] as const;
  private broker: EmbeddedBroker | null = null;
  private port = 0;

  access(): Access {
    return { url: `mqtt://127.0.0.1:${this.port}` };
  }

  async start(): Promise<void> {
    this.broker = await EmbeddedBroker.start(this.port);
    this.port = this.broker.port;
  }

  /** Everything it held is gone, retained messages too. */
  async kill(): Promise<void> {
    await this.broker?.stop();
    this.broker = null;
  }
}

const MOSQUITTO =
  ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/usr/bin/mosquitto'].find(existsSync) ?? 'mosquitto';

/** TLS on both sides: the name in a client's certificate is its user, and the ACL lets a device speak under its own name alone. */
const ACL = `
user server
topic readwrite mallorn/v1/#
user observer
topic read mallorn/v1/#
user chaos
topic readwrite mallorn/v1/#

pattern write mallorn/v1/%u/$state
pattern write mallorn/v1/%u/birth
pattern write mallorn/v1/%u/reported
pattern write mallorn/v1/%u/jobs/+/get
pattern write mallorn/v1/%u/jobs/+/update
pattern write mallorn/v1/%u/jobs/+/progress
pattern read mallorn/v1/%u/cmd/rebirth
pattern read mallorn/v1/%u/jobs/notify-next
pattern read mallorn/v1/%u/jobs/+/+/accepted
pattern read mallorn/v1/%u/jobs/+/+/rejected
`;

export class Mosquitto implements FleetBroker {
  readonly name = 'mosquitto, TLS, client certificates, ACLs';
  readonly protocols = [4, 5] as const;
  private readonly folder: string;
  private port = 0;
  private child: ChildProcess | null = null;

  constructor(folder: string, users: readonly string[]) {
    this.folder = folder;
    mkdirSync(folder);
    this.makeCertificates(users);
  }

  access(user: string): Access {
    const file = (name: string) => join(this.folder, name);
    return {
      url: `mqtts://127.0.0.1:${this.port}`,
      caPath: file('ca.pem'),
      certPath: file(`${user}.pem`),
      keyPath: file('client.key'),
    };
  }

  async start(): Promise<void> {
    if (this.port === 0) this.port = await freePort();
    writeFileSync(join(this.folder, 'acl'), ACL);
    writeFileSync(join(this.folder, 'mosquitto.conf'), this.configuration());
    const log = join(this.folder, 'log');
    const child = spawn(MOSQUITTO, ['-c', join(this.folder, 'mosquitto.conf')], { stdio: 'ignore' });
    this.child = child;
    for (let waitedMs = 0; !(await answers(this.port)); waitedMs += 50) {
      if (child.exitCode !== null || waitedMs > 10_000) {
        throw new Error(
          `mosquitto does not start: ${existsSync(log) ? readFileSync(log, 'utf8').slice(-500) : 'no log'}`,
        );
      }
      await delay(50);
    }
  }

  /** SIGKILL. It keeps no retained messages over it: the fleet has to say them again. */
  async kill(): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  private configuration(): string {
    return `
user ${userInfo().username}
listener ${this.port} 127.0.0.1
cafile ${join(this.folder, 'ca.pem')}
certfile ${join(this.folder, 'broker.pem')}
keyfile ${join(this.folder, 'broker.key')}
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file ${join(this.folder, 'acl')}
max_queued_messages 0
log_dest file ${join(this.folder, 'log')}
log_type error
log_type warning
`;
  }

  /** The devices share a key, to save time; each has a certificate of its own, which is what the ACL goes by. */
  private makeCertificates(users: readonly string[]): void {
    const run = (...args: string[]) =>
      execFileSync('openssl', args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] });
    const key = (name: string) => run('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', name);
    for (const name of ['ca.key', 'broker.key', 'client.key']) key(name);
    run('req', '-x509', '-key', 'ca.key', '-subj', '/CN=fleet test', '-days', '30', '-out', 'ca.pem');
    const sign = (name: string, keyName: string, ...more: string[]) => {
      run('req', '-new', '-key', keyName, '-subj', `/CN=${name}`, '-out', `${name}.csr`, ...more);
      const ca = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30', '-copy_extensions', 'copy'];
      run('x509', '-req', '-in', `${name}.csr`, ...ca, '-out', `${name}.pem`);
    };
    sign('broker', 'broker.key', '-addext', 'subjectAltName=IP:127.0.0.1');
    for (const user of users) sign(user, 'client.key');
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
