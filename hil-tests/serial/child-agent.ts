/** The agent with children at PTYs: what the cases of child-*-cases.ts have in common. */

import { mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DesiredDocument } from '../../agent/desired.js';
import { publishDesired } from '../../agent/publish-desired.js';
import type { Reported } from '../../agent/reported.js';
import { childTopics } from '../../agent/topics.js';
import { AgentRig } from '../support/agent-rig.js';
import { noise, type PatchOptions } from '../support/make-patch.js';
import { key, type Update } from './models.js';
import type { Rig } from './rig.js';

export const topicsOf = (child: string) => childTopics('mallorn/v1', 'gw-1', child);

export interface ChildrenOptions {
  readonly config?: Record<string, unknown>;
  /** Of each child's own configuration. */
  readonly child?: Record<string, unknown>;
  readonly now?: () => Date;
}

/** A port that devices change at, as adapters do that the system numbers anew. */
export class Socket {
  readonly folder = mkdtempSync(join(tmpdir(), 'mallorn-socket-'));
  readonly pty = join(this.folder, 'tty');

  /** From now on it is this device's. */
  lead({ pty }: Pick<Rig, 'pty'>): void {
    symlinkSync(pty, `${this.pty}.new`);
    renameSync(`${this.pty}.new`, this.pty);
  }

  static async with<T>(use: (socket: Socket) => Promise<T>): Promise<T> {
    const socket = new Socket();
    try {
      return await use(socket);
    } finally {
      rmSync(socket.folder, { recursive: true, force: true });
    }
  }
}

export async function withAgent<T>(
  ports: Readonly<Record<string, { readonly pty: string }>>,
  use: (agent: AgentRig) => Promise<T>,
  { config = {}, child = {}, now }: ChildrenOptions = {},
): Promise<T> {
  const children = Object.entries(ports).map(([name, { pty }]) => ({
    name,
    port: pty,
    model: { name: `${name}-model` },
    ...child,
  }));
  const retry = { minDelayMs: 200, maxDelayMs: 1000 };
  const agent = await AgentRig.start({
    installed: noise(1000, 1),
    config: { children, retry, ...config },
    ...(now === undefined ? {} : { now }),
  });
  try {
    return await use(agent);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.stack : error}\n${agent.log.join('\n')}`);
  } finally {
    await agent.stop();
  }
}

/** The document of an update, with the patch on the web server. */
export async function made(
  agent: AgentRig,
  child: string,
  { old, next }: Update,
  more: PatchOptions = {},
): Promise<DesiredDocument> {
  const patch = { neural: true, profile: 'mcu', privateKey: key.privateKey, versionCounter: 5, ...more } as const;
  return { ...(await agent.publishFiles([old], next, { patch })), model: `${child}-model` };
}

export async function tell(agent: AgentRig, child: string, document: DesiredDocument): Promise<void> {
  await publishDesired({ url: agent.broker.url, devices: ['gw-1'], child, document });
}

export async function reported(agent: AgentRig, child: string, status: Reported['status']): Promise<Reported> {
  return reportedAs(agent, child, (report) => report.status === status);
}

export async function reportedAs(
  agent: AgentRig,
  child: string,
  accept: (report: Reported) => boolean,
): Promise<Reported> {
  const payload = await agent.broker.waitFor(topicsOf(child).reported, (text) => accept(JSON.parse(text)), 60_000);
  return JSON.parse(payload) as Reported;
}

export async function state(agent: AgentRig, child: string, wanted: string): Promise<void> {
  await agent.broker.waitFor(topicsOf(child).state, (payload) => payload.includes(`"state":"${wanted}"`));
}
