/** What whoever may open the agent's control socket writes to it. */

import assert from 'node:assert/strict';
import {
  answerSchema,
  type ControlAnswer,
  type ControlCommand,
  MAX_ANSWER_BYTES,
} from '../../agent/operations/control-messages.js';
import { ControlSession } from '../../agent/operations/control-session.js';
import type { Done, OperatedAgent, OperatedUnit } from '../../agent/operations/operated.js';
import { mutatedJson } from './mutate-json.js';
import type { FuzzTarget, Outcome } from './target.js';

const REQUESTS: readonly { command: ControlCommand; model?: string }[] = [
  { command: 'status' },
  { command: 'status', model: 'pose' },
  { command: 'history', model: 'idle' },
  { command: 'retry', model: 'pose' },
  { command: 'rollback', model: 'pose' },
  { command: 'confirm', model: 'pose' },
];
/** An agent that fails at what it is asked for, FAILED, is none of them: here that is a crash. */
const REFUSALS: readonly string[] = ['BAD_REQUEST', 'TOO_LONG', 'UNKNOWN_MODEL', 'WHICH_MODEL', 'NOTHING_TO_DO'];
const LINE_END = Uint8Array.of(0x0a);

export class ControlTarget implements FuzzTarget {
  readonly name = 'control';
  readonly share = 3;
  readonly mutate = mutatedJson;
  /** What the agent was asked to do, `command model`. */
  private asked: string[] = [];
  private readonly agent: OperatedAgent = this.agentOf([this.unit('pose', 'done'), this.unit('idle', 'idle')]);

  seeds(): Uint8Array[] {
    return REQUESTS.map((request) => new TextEncoder().encode(JSON.stringify(request)));
  }

  /** In two pieces, and with a line's end where the input has none. */
  run(bytes: Uint8Array): Outcome {
    this.asked = [];
    const session = new ControlSession(this.agent, () => {});
    const middle = bytes.length >> 1;
    let answer: ControlAnswer | null = null;
    for (const piece of [bytes.subarray(0, middle), bytes.subarray(middle), LINE_END]) answer ??= session.take(piece);
    assert.ok(answer !== null && answerSchema.safeParse(answer).success);
    assert.ok(JSON.stringify(answer).length < MAX_ANSWER_BYTES);
    if ('error' in answer) {
      assert.ok(REFUSALS.includes(answer.error.code), `${answer.error.code}: ${answer.error.message}`);
      assert.ok(
        this.asked.every((act) => act.endsWith(' idle')),
        'refused, and nothing done',
      );
      return 'refused';
    }
    const [line] = new TextDecoder().decode(bytes).split('\n');
    const { command, model } = JSON.parse(line!) as { command: ControlCommand; model?: string };
    const isAct = command !== 'status' && command !== 'history';
    assert.deepEqual(this.asked, isAct ? [`${command} ${model}`] : [], 'what was asked, once, and nothing else');
    return 'taken';
  }

  private unit(name: string, done: Done): OperatedUnit {
    const act = (command: ControlCommand) => (): Done => {
      this.asked.push(`${command} ${name}`);
      return done;
    };
    const status: OperatedUnit['status'] = () => ({
      ...{ model: name, installed_version: '1', latest_version: null, sha256: null, status: 'no_wish' },
      ...{ progress: null, trial: null, slots: null },
    });
    return { name, status, retry: act('retry'), rollBack: act('rollback'), confirm: act('confirm') };
  }

  private agentOf(units: readonly OperatedUnit[]): OperatedAgent {
    const connection = { connected: true, broker: '', reconnects: 0 };
    const models = units.map((unit) => unit.status());
    return {
      units,
      status: () => ({ device: 'gw', agentVersion: '1', pid: 1, startedAt: '', connection, models }),
      history: () => [],
    };
  }
}
