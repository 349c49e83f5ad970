/** `mallorn jobs`: orders for devices, and the responder for brokers that have none. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { IoError } from '../../core/errors.js';
import { messageOf } from '../message-of.js';
import { type BrokerFlags, brokerOptions, serverOptions, serveUntil } from './broker-server.js';
import { UsageError } from './failure.js';
import { table } from './output.js';
import { type AddCommand, integer } from './session.js';

interface ServeFlags extends BrokerFlags {
  readonly store: string;
}

interface CreateFlags {
  readonly store: string;
  readonly id: string;
  readonly document: string;
  readonly device: readonly string[];
  readonly child?: string;
  readonly timeout?: number;
}

export const addJobs: AddCommand = (program, open) => {
  const jobs = program.command('jobs').description('order updates as jobs, and answer for them on a broker');
  const serve = jobs.command('serve').description('answer devices until told to end');
  brokerOptions(serve)
    .requiredOption('--store <dir>', 'folder of the orders and of what became of them')
    .action(async ({ store, ...flags }: ServeFlags, self: Command) => {
      const { signal } = open(self);
      const { JobServer } = await import('../jobs/job-server.js');
      const { JobStore } = await import('../jobs/job-store.js');
      const options = await serverOptions(flags);
      await serveUntil(signal, new JobServer({ ...options, store: new JobStore(store) }));
    });
  jobs
    .command('create')
    .description('order an update')
    .requiredOption('--store <dir>', 'folder of the orders')
    .requiredOption('--id <id>', 'name of the job, for ever')
    .requiredOption('--document <file>', 'what `mallorn publish` wrote: desired.json')
    .requiredOption('--device <id...>', 'devices')
    .option('--child <name>', 'for the microcontroller of this name behind each of the devices')
    .option('--timeout <seconds>', 'ends an execution that has been in progress for so long', integer)
    .action(async ({ store, id, document, device, child, timeout }: CreateFlags, self: Command) => {
      const { JobStore } = await import('../jobs/job-store.js');
      const { childTarget } = await import('../jobs/job-target.js');
      const devices = child === undefined ? device : device.map((name) => childTarget(name, child));
      const orders = new JobStore(store);
      const timeoutMs = timeout === undefined ? null : timeout * 1000;
      const desired = await jsonFile(document);
      const job = { jobId: id, document: { desired }, devices, timeoutMs, canceled: false };
      await orders.save(job).catch(asUsage);
      open(self).output.result({ jobId: id, devices }, () =>
        table([
          ['job', id],
          ['devices', `${devices.length}`],
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
    throw new IoError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
