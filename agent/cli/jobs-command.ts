/** `mallorn jobs`: orders for devices, and the responder for brokers that have none. */

import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { IoError } from '../../core/errors.js';
import { jsonLog } from '../log.js';
import { DEFAULT_TOPIC_PREFIX } from '../topics.js';
import { UsageError } from './failure.js';
import { table } from './output.js';
import { pem } from './read-file.js';
import { type AddCommand, integer } from './session.js';

interface ServeFlags {
  readonly store: string;
  readonly mqtt: string;
  readonly topicPrefix: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

interface CreateFlags {
  readonly store: string;
  readonly id: string;
  readonly document: string;
  readonly device: readonly string[];
  readonly timeout?: number;
}

export const addJobs: AddCommand = (program, open) => {
  const jobs = program.command('jobs').description('order updates as jobs, and answer for them on a broker');
  jobs
    .command('serve')
    .description('answer devices until told to end')
    .requiredOption('--store <dir>', 'folder of the orders and of what became of them')
    .requiredOption('--mqtt <url>', 'the broker; credentials stand in the URL')
    .option('--topic-prefix <prefix>', 'first part of the topics', DEFAULT_TOPIC_PREFIX)
    .option('--ca <file>', 'PEM of the authority that signed the broker')
    .option('--cert <file>', 'PEM of our own certificate')
    .option('--key <file>', 'PEM of its key')
    .action(async ({ store, mqtt, topicPrefix, ca, cert, key }: ServeFlags, self: Command) => {
      const { signal } = open(self);
      const { JobServer } = await import('../jobs/job-server.js');
      const { JobStore } = await import('../jobs/job-store.js');
      const server = new JobServer({
        store: new JobStore(store),
        url: mqtt,
        topicPrefix,
        ca: await pem(ca),
        cert: await pem(cert),
        key: await pem(key),
        log: jsonLog((line) => process.stderr.write(line)),
      });
      if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      await server.close();
    });
  jobs
    .command('create')
    .description('order an update')
    .requiredOption('--store <dir>', 'folder of the orders')
    .requiredOption('--id <id>', 'name of the job, for ever')
    .requiredOption('--document <file>', 'what `mallorn publish` wrote: desired.json')
    .requiredOption('--device <id...>', 'devices')
    .option('--timeout <seconds>', 'ends an execution that has been in progress for so long', integer)
    .action(async ({ store, id, document, device, timeout }: CreateFlags, self: Command) => {
      const { JobStore } = await import('../jobs/job-store.js');
      const orders = new JobStore(store);
      const timeoutMs = timeout === undefined ? null : timeout * 1000;
      const desired = await jsonFile(document);
      const job = { jobId: id, document: { desired }, devices: device, timeoutMs, canceled: false };
      await orders.save(job).catch(asUsage);
      open(self).output.result({ jobId: id, devices: device }, () =>
        table([
          ['job', id],
          ['devices', `${device.length}`],
        ]),
      );
    });
  jobs
    .command('cancel')
    .description('call an order back, where a device has not yet switched')
    .requiredOption('--store <dir>', 'folder of the orders')
    .requiredOption('--id <id>', 'name of the job')
    .action(async ({ store, id }: { store: string; id: string }, self: Command) => {
      const { JobStore } = await import('../jobs/job-store.js');
      const orders = new JobStore(store);
      await orders.save({ ...orders.order(id), canceled: true }).catch(asUsage);
      open(self).output.result({ jobId: id, canceled: true }, () => table([['canceled', id]]));
    });
  jobs
    .command('status')
    .description('how the executions stand')
    .requiredOption('--store <dir>', 'folder of the orders')
    .action(async ({ store }: { store: string }, self: Command) => {
      const { JobStore } = await import('../jobs/job-store.js');
      const { JobBoard } = await import('../jobs/job-board.js');
      const board = new JobBoard();
      for (const record of new JobStore(store).history()) board.replay(record);
      const executions = board.all();
      open(self).output.result({ executions }, () =>
        table(
          executions.map(({ device, jobId, status, details }) => [
            device,
            `${jobId} ${status} ${details['reason'] ?? ''}`,
          ]),
        ),
      );
    });
};

function asUsage(error: unknown): never {
  if (error instanceof RangeError) throw new UsageError(error.message);
  throw error;
}

async function jsonFile(path: string): Promise<unknown> {
  const content = await text(path);
  try {
    return JSON.parse(content);
  } catch {
    throw new UsageError(`${path}: expected JSON`);
  }
}

async function text(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new IoError(`cannot read ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
