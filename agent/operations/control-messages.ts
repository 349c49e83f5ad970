/** What the control socket carries: one JSON line to the agent, one back, and the end. */
import * as z from 'zod';

export const CONTROL_COMMANDS = ['status', 'history', 'retry', 'rollback', 'confirm'] as const;
export type ControlCommand = (typeof CONTROL_COMMANDS)[number];

/** Of a request, its line end included. */
export const MAX_REQUEST_BYTES = 4096;
/** Of an answer: 200 entries of history and many models fit several times. */
export const MAX_ANSWER_BYTES = 4 << 20;
export const CONTROL_TIMEOUT_MS = 10_000;
export const CONTROL_SOCKET = 'control.sock';
/** sun_path of Linux is 108 bytes with its NUL; other systems have fewer, and say so themselves. */
export const MAX_SOCKET_PATH_BYTES = 107;

export const requestSchema = z.strictObject({
  command: z.enum(CONTROL_COMMANDS),
  /** May be left out where there is only one. */
  model: z.string().min(1).max(128).optional(),
});
export type ControlRequest = z.infer<typeof requestSchema>;

export const answerSchema = z.union([
  z.object({ result: z.unknown() }),
  z.object({ error: z.object({ code: z.string(), message: z.string() }) }),
]);
export type ControlAnswer = { result: unknown } | { error: { code: string; message: string } };

/** Null where the path fits; else what is wrong with it. */
export function socketPathProblem(path: string): string | null {
  const length = Buffer.byteLength(path);
  if (length <= MAX_SOCKET_PATH_BYTES) return null;
  return `expected a socket path of at most ${MAX_SOCKET_PATH_BYTES} bytes, got ${length}: choose a shorter stateFolder (${path})`;
}
