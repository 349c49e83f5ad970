/** Asks the agent that runs with a configuration; the other end of control-server.ts. */
import { createConnection } from 'node:net';
import { IoError } from '../../core/errors.js';
import {
  answerSchema,
  CONTROL_TIMEOUT_MS,
  type ControlRequest,
  MAX_ANSWER_BYTES,
  socketPathProblem,
} from './control-messages.js';

export { CONTROL_SOCKET } from './control-messages.js';

/** The agent has heard and said no. */
export class ControlRefusal extends Error {
  override readonly name = 'ControlRefusal';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** The agent's result. @throws ControlRefusal, IoError where no agent answers */
export async function askAgent(path: string, request: ControlRequest): Promise<unknown> {
  const problem = socketPathProblem(path);
  if (problem !== null) throw new IoError(problem);
  const line = await exchange(path, `${JSON.stringify(request)}\n`);
  const answer = answerSchema.safeParse(parse(line));
  if (!answer.success) throw new IoError(`expected an answer of an agent at ${path}, got something else`);
  if ('error' in answer.data) throw new ControlRefusal(answer.data.error.code, answer.data.error.message);
  return answer.data.result;
}

function exchange(path: string, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const chunks: Buffer[] = [];
    let length = 0;
    const fail = (message: string): void => {
      socket.destroy();
      reject(new IoError(message));
    };
    socket.setTimeout(CONTROL_TIMEOUT_MS, () =>
      fail(`the agent at ${path} gave no answer in ${CONTROL_TIMEOUT_MS} ms`),
    );
    socket.on('error', (error: NodeJS.ErrnoException) => fail(explain(path, error)));
    socket.on('connect', () => socket.write(request));
    socket.on('data', (chunk) => {
      length += chunk.length;
      if (length > MAX_ANSWER_BYTES) return fail(`expected an answer of at most ${MAX_ANSWER_BYTES} bytes, got more`);
      chunks.push(chunk);
    });
    socket.on('end', () => {
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('utf8'));
    });
  });
}

function explain(path: string, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return `no agent runs with this configuration: nobody answers at ${path}`;
    case 'EACCES':
      return `the agent at ${path} answers its own user and root alone`;
    default:
      return `cannot reach the agent at ${path}: ${error.message}`;
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
