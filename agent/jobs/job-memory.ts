/** What the job machine keeps on disk, checked when it is read back: another version may have written it. */
import * as z from 'zod';
import { type JobMemory, NO_JOBS } from './job-machine.js';
import { jobId, TERMINAL_STATUSES, VERDICTS } from './job-messages.js';

const FORMAT = 1;
const number = z.number().int().min(0);
const details = z.record(z.string(), z.string());

const memorySchema: z.ZodType<JobMemory> = z.object({
  current: z
    .object({
      jobId,
      executionNumber: number,
      document: z.unknown(),
      version: number,
      claimed: z.boolean(),
      verdict: z.object({ status: z.enum(VERDICTS), details }).nullable(),
    })
    .nullable(),
  done: z.array(z.object({ jobId, executionNumber: number, status: z.enum(TERMINAL_STATUSES), details })),
});

const envelope = z.object({ format: z.literal(FORMAT), jobs: memorySchema });

export function encodeJobs({ current, done }: JobMemory): unknown {
  return { format: FORMAT, jobs: { current, done } };
}

/** What cannot be read is forgotten: the server is asked, and the slots tell what is installed. */
export function decodeJobs(value: unknown): JobMemory {
  const parsed = envelope.safeParse(value);
  return parsed.success ? parsed.data.jobs : NO_JOBS;
}
