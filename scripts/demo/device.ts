/** A gateway of the demo: a folder with slots and configuration, and the production agent as a process of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Reported } from '../../agent/reported.js';
import { deviceTopics } from '../../agent/topics.js';
import type { EmbeddedBroker } from '../../hil-tests/support/embedded-broker.js';
import { SlotDirectory } from '../../targets/node/slot-directory.js';

const STATE_TIMEOUT_MS = 20_000;
/** On top of it, for models of any size: far less than any machine hashes and writes. */
const BYTES_PER_MS = 2_000;
const ENDS: readonly Reported['status'][] = ['up_to_date', 'refused', 'failed'];

export interface DeviceOptions {
  readonly name: string;
  readonly folder: string;
  readonly broker: EmbeddedBroker;
  /** Model it comes with. */
  readonly installed: Uint8Array;
  readonly trustedKey: Uint8Array;
  /** The built dist/cli.js. */
  readonly cliPath: string;
}

export class Device {
  readonly name: string;
  private readonly broker: EmbeddedBroker;
  private readonly home: string;
  private readonly slots: string;
  private readonly child: ChildProcess;
  private readonly timeoutMs: number;

  constructor({ name, folder, broker, installed, trustedKey, cliPath }: DeviceOptions) {
    this.name = name;
    this.timeoutMs = STATE_TIMEOUT_MS + Math.ceil(installed.length / BYTES_PER_MS);
    this.broker = broker;
    const home = join(folder, name);
    this.home = home;
    this.slots = join(home, 'slots');
    mkdirSync(home);
    const slots = SlotDirectory.open(this.slots, { create: true });
    slots.install(installed);
    slots.close();
    writeFileSync(join(home, 'trusted.pub'), trustedKey);
    const config = {
      device: name,
      mqtt: { url: broker.url },
      model: { name: 'demo', slots: 'slots' },
      trustedKeys: ['trusted.pub'],
    };
    writeFileSync(join(home, 'agent.json'), JSON.stringify(config));
    const log = openSync(join(home, 'agent.log'), 'w');
    this.child = spawn(process.execPath, [cliPath, 'agent', '--config', join(home, 'agent.json')], {
      stdio: ['ignore', log, log],
    });
    closeSync(log);
  }

  /** Waits until the device says that the update has come to an end, one way or the other. */
  async settled(): Promise<Reported> {
    const topic = deviceTopics('mallorn/v1', this.name).reported;
    const accept = (payload: string) => ENDS.includes((JSON.parse(payload) as Reported).status);
    try {
      return JSON.parse(await this.broker.waitFor(topic, accept, this.timeoutMs)) as Reported;
    } catch (error) {
      console.error(readFileSync(join(this.home, 'agent.log'), 'utf8'));
      throw error;
    }
  }

  /** SHA-256, hex, of what an application on the device would load now. */
  activeSha256(): string {
    return sha256Hex(readFileSync(join(this.slots, 'current')));
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await gone;
  }
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
