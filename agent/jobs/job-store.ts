/**
 * A folder of jobs:
 *
 *   orders/ID.json      what was ordered: written by `mallorn jobs create` and `cancel`, read by the responder
 *   executions.jsonl    how each execution came along, one line a change, synced before anybody is answered
 */

import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { IoError } from '../../core/errors.js';
import { messageOf } from '../message-of.js';
import type { ExecutionRecord, JobOrder } from './job-board.js';
import { jobId, TERMINAL_STATUSES } from './job-messages.js';
import { isJobTarget } from './job-target.js';

const orderSchema = z.object({
  jobId,
  document: z.unknown(),
  devices: z.array(z.string().refine(isJobTarget, 'expected DEVICE or DEVICE/CHILD')).max(1_000_000),
  timeoutMs: z.number().int().positive().nullable(),
  canceled: z.boolean(),
});

const recordSchema = z.object({
  device: z.string(),
  jobId,
  executionNumber: z.number().int(),
  status: z.enum(['QUEUED', 'IN_PROGRESS', ...TERMINAL_STATUSES]),
  version: z.number().int(),
  details: z.record(z.string(), z.string()),
  atMs: z.number(),
});

export class JobStore {
  private readonly folder: string;
  private readonly seen = new Map<string, number>();
  private log: number | null = null;

  /** @throws IoError */
  constructor(folder: string) {
    this.folder = folder;
    attempt(`cannot create ${folder}`, () => mkdirSync(this.orders, { recursive: true }));
  }

  /** Every change there was, in order. A line that a crash cut short was answered to nobody and is cut off. */
  history(): ExecutionRecord[] {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.logPath);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw new IoError(`cannot read ${this.logPath}: ${messageOf(cause)}`, { cause });
    }
    const whole = bytes.lastIndexOf(0x0a) + 1;
    if (whole < bytes.length) attempt(`cannot mend ${this.logPath}`, () => truncateSync(this.logPath, whole));
    return bytes
      .subarray(0, whole)
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line, at) => this.parse(recordSchema, line, `${this.logPath}:${at + 1}`));
  }

  /** Durable when it returns. @throws IoError */
  append(records: readonly ExecutionRecord[]): void {
    if (records.length === 0) return;
    const text = records.map((record) => `${JSON.stringify(record)}\n`).join('');
    attempt(`cannot write ${this.logPath}`, () => {
      this.log ??= openSync(this.logPath, 'a', 0o600);
      const bytes = new TextEncoder().encode(text);
      for (let at = 0; at < bytes.length; ) at += writeSync(this.log, bytes, at);
      fdatasyncSync(this.log);
    });
  }

  /** Orders that are new or changed since the last call. @throws IoError */
  changedOrders(): JobOrder[] {
    const names = attempt(`cannot read ${this.orders}`, () => readdirSync(this.orders)).filter((name) =>
      name.endsWith('.json'),
    );
    const changed: JobOrder[] = [];
    for (const name of names.sort()) {
      const path = join(this.orders, name);
      const { mtimeMs, ino } = attempt(`cannot read ${path}`, () => statSync(path));
      // Replaced whole each time, so a change is another inode or another time.
      const stamp = mtimeMs + ino;
      if (this.seen.get(name) === stamp) continue;
      changed.push(this.readOrder(path));
      this.seen.set(name, stamp);
    }
    return changed;
  }

  /** @throws IoError where there is none or it cannot be read. */
  order(id: string): JobOrder {
    return this.readOrder(join(this.orders, `${id}.json`));
  }

  /** @throws IoError, RangeError for a job that no device would take. */
  async save(order: JobOrder): Promise<void> {
    const parsed = orderSchema.safeParse(order);
    if (!parsed.success)
      throw new RangeError(parsed.error.issues.map(({ message, path }) => `${path.join('.')}: ${message}`).join('; '));
    const path = join(this.orders, `${order.jobId}.json`);
    try {
      const file = await open(`${path}.new`, 'w', 0o600);
      try {
        await file.writeFile(JSON.stringify(order));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.new`, path);
    } catch (cause) {
      throw new IoError(`cannot write ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  close(): void {
    if (this.log !== null) closeSync(this.log);
    this.log = null;
  }

  private get orders(): string {
    return join(this.folder, 'orders');
  }

  private get logPath(): string {
    return join(this.folder, 'executions.jsonl');
  }

  private readOrder(path: string): JobOrder {
    return this.parse(
      orderSchema,
      attempt(`cannot read ${path}`, () => readFileSync(path, 'utf8')),
      path,
    );
  }

  private parse<T>(schema: z.ZodType<T>, text: string, where: string): T {
    try {
      return schema.parse(JSON.parse(text));
    } catch (cause) {
      throw new IoError(`${where} is damaged: ${messageOf(cause).slice(0, 200)}`, { cause });
    }
  }
}

function attempt<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new IoError(`${what}: ${messageOf(cause)}`, { cause });
  }
}
