/**
 * The agent's end of the control socket: for people at the device, with the rights of the agent's user or root (mode 0600).
 * The state folder's lock must be held: that is what makes a socket file found there nobody's.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Log } from '../log.js';
import {
  CONTROL_TIMEOUT_MS,
  type ControlAnswer,
  type ControlRequest,
  MAX_REQUEST_BYTES,
  requestSchema,
  socketPathProblem,
} from './control-messages.js';
import type { Done, OperatedAgent, OperatedUnit } from './operated.js';

const MAX_CONNECTIONS = 8;
const NEWLINE = 0x0a;

export class ControlServer {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.server = server;
  }

  /** @throws Error saying why the socket cannot be made */
  static async open(path: string, agent: OperatedAgent, log: Log): Promise<ControlServer> {
    const problem = socketPathProblem(path);
    if (problem !== null) throw new Error(problem);
    removeStale(path);
    const server = createServer();
    const control = new ControlServer(server);
    server.maxConnections = MAX_CONNECTIONS;
    server.on('connection', (socket) => control.serve(socket, agent, log));
    await listen(server, path);
    return control;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    // Takes the file away too.
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private serve(socket: Socket, agent: OperatedAgent, log: Log): void {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    // A caller that has gone needs no answer.
    socket.on('error', () => socket.destroy());
    socket.setTimeout(CONTROL_TIMEOUT_MS, () => socket.destroy());
    let received = Buffer.alloc(0);
    const answer = (value: ControlAnswer): void => {
      socket.removeAllListeners('data');
      socket.end(`${JSON.stringify(value)}\n`);
    };
    socket.on('data', (chunk: Buffer) => {
      const end = chunk.indexOf(NEWLINE);
      const length = received.length + (end < 0 ? chunk.length : end + 1);
      if (length > MAX_REQUEST_BYTES) {
        return answer(refusal('TOO_LONG', `expected a request of at most ${MAX_REQUEST_BYTES} bytes, got more`));
      }
      received = Buffer.concat([received, chunk]);
      if (end >= 0) answer(answerTo(received.subarray(0, length - 1), agent, log));
    });
  }
}

function removeStale(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`expected a socket or nothing at ${path}, got something else`);
  unlinkSync(path);
}

/** Made without rights for others, so that there is no moment in which they have any. */
function listen(server: Server, path: string): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const before = process.umask(0o177);
    try {
      // Node binds before this returns.
      server.listen(path, () => {
        server.off('error', reject);
        server.on('error', () => {});
        resolve();
      });
    } finally {
      process.umask(before);
    }
  }).then(() => chmodSync(path, 0o600));
}

function answerTo(line: Uint8Array, agent: OperatedAgent, log: Log): ControlAnswer {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(line).toString('utf8'));
  } catch {
    return refusal('BAD_REQUEST', 'expected one line of JSON');
  }
  const parsed = requestSchema.safeParse(value);
  if (!parsed.success) return refusal('BAD_REQUEST', parsed.error.issues.map(({ message }) => message).join('; '));
  try {
    return perform(parsed.data, agent, log);
  } catch (error) {
    return refusal('FAILED', error instanceof Error ? error.message : String(error));
  }
}

function perform({ command, model }: ControlRequest, agent: OperatedAgent, log: Log): ControlAnswer {
  const { units } = agent;
  const known = model === undefined || units.some(({ name }) => name === model);
  if (!known) return refusal('UNKNOWN_MODEL', `expected one of the models ${namesOf(units)}, got ${model}`);
  if (command === 'status') {
    const status = agent.status();
    return { result: { ...status, models: status.models.filter((unit) => isMeant(unit.model, model)) } };
  }
  if (command === 'history') return { result: agent.history().filter((entry) => isMeant(entry.model, model)) };
  const meant = units.filter(({ name }) => isMeant(name, model));
  const [unit] = meant;
  if (unit === undefined || meant.length > 1) {
    return refusal('WHICH_MODEL', `expected --model with one of ${namesOf(units)}`);
  }
  const done = act(command, unit);
  log('info', 'asked by a person', { command, model: unit.name, done });
  if (done === 'done') return { result: unit.status() };
  return refusal('NOTHING_TO_DO', `${unit.name} is ${unit.status().status}: there is nothing to ${WORDS[command]}`);
}

const WORDS = { retry: 'retry', rollback: 'roll back', confirm: 'confirm' } as const;

function act(command: keyof typeof WORDS, unit: OperatedUnit): Done {
  if (command === 'retry') return unit.retry();
  return command === 'rollback' ? unit.rollBack() : unit.confirm();
}

function isMeant(name: string, model: string | undefined): boolean {
  return model === undefined || name === model;
}

function namesOf(units: readonly OperatedUnit[]): string {
  return units.map(({ name }) => name).join(', ');
}

function refusal(code: string, message: string): ControlAnswer {
  return { error: { code, message } };
}
