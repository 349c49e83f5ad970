/** One request on the control socket: gathered as it comes, looked at when its line is whole, done, and answered. */
import type { Log } from '../log.js';
import { messageOf } from '../message-of.js';
import { type ControlAnswer, type ControlRequest, MAX_REQUEST_BYTES, requestSchema } from './control-messages.js';
import type { Done, OperatedAgent, OperatedUnit } from './operated.js';

const NEWLINE = 0x0a;

export class ControlSession {
  private readonly agent: OperatedAgent;
  private readonly log: Log;
  private received = Buffer.alloc(0);

  constructor(agent: OperatedAgent, log: Log) {
    this.agent = agent;
    this.log = log;
  }

  /** The one answer, after which nothing more is to be given; null while the line has no end. */
  take(chunk: Uint8Array): ControlAnswer | null {
    const end = chunk.indexOf(NEWLINE);
    const length = this.received.length + (end < 0 ? chunk.length : end + 1);
    if (length > MAX_REQUEST_BYTES) {
      return refusal('TOO_LONG', `expected a request of at most ${MAX_REQUEST_BYTES} bytes, got more`);
    }
    this.received = Buffer.concat([this.received, chunk]);
    return end < 0 ? null : answerTo(this.received.subarray(0, length - 1), this.agent, this.log);
  }
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
    return refusal('FAILED', messageOf(error));
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
