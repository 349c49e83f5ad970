/**
 * The words of the job protocol (docs/jobs.md): AWS IoT Jobs' own, under a root of our own or under AWS's reserved one. What
 * arrives is untrusted: it is bounded and checked here, and even then only the signed header of a patch authorises a write.
 */
import * as z from 'zod';
import { MAX_DETAIL_LENGTH, MAX_DETAILS, MAX_JOB_MESSAGE_BYTES } from '../limits.js';

export const TERMINAL_STATUSES = ['SUCCEEDED', 'FAILED', 'REJECTED', 'TIMED_OUT', 'CANCELED', 'REMOVED'] as const;
/** What a device may say that an execution ended in. */
export const VERDICTS = ['SUCCEEDED', 'FAILED', 'REJECTED'] as const;

export type TerminalStatus = (typeof TERMINAL_STATUSES)[number];
export type JobStatus = 'QUEUED' | 'IN_PROGRESS' | TerminalStatus;
export type VerdictStatus = (typeof VERDICTS)[number];

export const jobId = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'expected 1 to 64 letters, digits, _ or -');
const status = z.enum(['QUEUED', 'IN_PROGRESS', ...TERMINAL_STATUSES]);
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const clientToken = z.string().max(64).optional();
export const statusDetails = z
  .record(z.string().max(128), z.string().max(MAX_DETAIL_LENGTH))
  .refine((details) => Object.keys(details).length <= MAX_DETAILS, `expected at most ${MAX_DETAILS} details`);

const executionSchema = z.object({
  jobId,
  status,
  versionNumber: count,
  executionNumber: count,
  jobDocument: z.unknown().optional(),
});
export type JobExecution = z.infer<typeof executionSchema>;

/** AWS answers `{}` or leaves it out where there is nothing to do. */
export const getAcceptedSchema = z.object({
  clientToken,
  execution: z
    .union([
      executionSchema,
      z
        .object({})
        .strict()
        .transform(() => undefined),
    ])
    .optional(),
});
export const updateAcceptedSchema = z.object({
  clientToken,
  executionState: z.object({ status: status.optional(), versionNumber: count.optional() }).optional(),
});
export const rejectedSchema = z.object({
  clientToken,
  code: z.string().max(64),
  message: z.string().max(1024).optional(),
});

export const getRequestSchema = z.object({ clientToken });
export const updateRequestSchema = z.object({
  clientToken,
  status: z.enum(['IN_PROGRESS', ...VERDICTS]),
  statusDetails: statusDetails.optional(),
  expectedVersion: count.optional(),
  executionNumber: count.optional(),
});
export type UpdateRequest = z.infer<typeof updateRequestSchema>;

export type RejectionCode =
  | 'InvalidJson'
  | 'InvalidRequest'
  | 'InvalidStateTransition'
  | 'ResourceNotFound'
  | 'VersionMismatch'
  | 'RequestThrottled'
  | 'TerminalStateReached'
  | 'InternalError';

/** Those after which the truth has to be read anew; others are a matter of waiting. */
export const STALE_CODES: readonly string[] = [
  'VersionMismatch',
  'InvalidStateTransition',
  'TerminalStateReached',
  'ResourceNotFound',
];

export const GONE_CODES: readonly string[] = ['ResourceNotFound', 'TerminalStateReached'];

export const NEXT = '$next';

export function isTerminal(value: JobStatus): value is TerminalStatus {
  return (TERMINAL_STATUSES as readonly string[]).includes(value);
}

export interface JobTopics {
  /** Everything below is under it. */
  readonly root: string;
  readonly notifyNext: string;
  /** Topic filters a device listens to. */
  readonly filters: readonly string[];
}

export function jobTopics(root: string): JobTopics {
  const answers = ['get', 'update'].flatMap((what) => [`${root}/+/${what}/accepted`, `${root}/+/${what}/rejected`]);
  return { root, notifyNext: `${root}/notify-next`, filters: [`${root}/notify-next`, ...answers] };
}

export function mallornJobRoot(prefix: string, device: string): string {
  return `${prefix}/${device}/jobs`;
}

/** Of a microcontroller behind a device: under the child's other topics (topics.ts). */
export function childJobRoot(prefix: string, device: string, child: string): string {
  return `${prefix}/${device}/children/${child}/jobs`;
}

/** https://docs.aws.amazon.com/iot/latest/developerguide/reserved-topics.html */
export function awsJobRoot(thing: string): string {
  return `$aws/things/${thing}/jobs`;
}

/** Undefined for what is too long, no JSON, or not of this shape. */
export function parseMessage<T>(schema: z.ZodType<T>, payload: Uint8Array): T | undefined {
  if (payload.length > MAX_JOB_MESSAGE_BYTES) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch {
    return undefined;
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}
