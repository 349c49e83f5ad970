/** `mallorn agent status|history|retry|rollback|confirm`: asks the agent that runs with a configuration. */

import { join } from 'node:path';
import type { Command } from 'commander';
import type { ControlCommand } from '../operations/control-messages.js';
import type { AgentStatus, UnitStatus } from '../operations/operated.js';
import type { HistoryEntry } from '../operations/update-history.js';
import { bytesText, table } from './output.js';
import type { Session } from './session.js';

interface Flags {
  readonly config: string;
  readonly model?: string;
}

const DESCRIPTIONS: Record<ControlCommand, string> = {
  status: 'what is installed and wished, and what the running agent is doing',
  history: 'what became of the last updates',
  retry: 'another attempt at what was given up',
  rollback: 'back to the model before, for good or until another is wished',
  confirm: 'consent to the update that waits for it, or say that the model on trial is good',
};

export function addAgentControl(agent: Command, open: (command: Command) => Session): void {
  for (const [name, description] of Object.entries(DESCRIPTIONS) as [ControlCommand, string][]) {
    agent
      .command(name)
      .description(description)
      .requiredOption('--config <file>', "the running agent's configuration")
      .option('--model <name>', 'of several models this one')
      .action(async (flags: Flags, self: Command) => {
        const session = open(self);
        const result = await ask(session, name, flags);
        session.output.result(result, () => LINES[name](result));
      });
  }
}

async function ask({ platform }: Session, command: ControlCommand, { config, model }: Flags): Promise<unknown> {
  // On demand, like the agent: other commands start without.
  const { askAgent, CONTROL_SOCKET } = await import('../operations/control-client.js');
  const { loadConfig } = await platform.loadAgent();
  const { stateFolder } = await loadConfig(config);
  return askAgent(join(stateFolder, CONTROL_SOCKET), { command, ...(model === undefined ? {} : { model }) });
}

/** For people. The agent is of the same version as this program, or close to it. */
const LINES: Record<ControlCommand, (result: unknown) => string[]> = {
  status: (result) => statusLines(result as AgentStatus),
  history: (result) => (result as HistoryEntry[]).map(historyLine),
  retry: (result) => unitLines(result as UnitStatus),
  rollback: (result) => unitLines(result as UnitStatus),
  confirm: (result) => unitLines(result as UnitStatus),
};

function statusLines({ device, agentVersion, pid, startedAt, connection, models }: AgentStatus): string[] {
  const { connected, broker, reconnects } = connection;
  return [
    ...table([
      ['device', device],
      ['agent', `${agentVersion}, process ${pid}, since ${startedAt}`],
      ['broker', `${connected ? 'connected' : 'not connected'} to ${broker}, ${reconnects} reconnects`],
    ]),
    ...models.flatMap((unit) => ['', ...unitLines(unit)]),
  ];
}

function unitLines(unit: UnitStatus): string[] {
  const { model, installed_version, latest_version, sha256, status, progress, error, trial, slots } = unit;
  return table([
    ['model', model],
    ['installed', `${installed_version ?? 'version unknown'} ${sha256 ?? '(no model)'}`],
    ['wished', latest_version ?? 'nothing'],
    ['status', progress === null ? status : `${status}, ${progress} %`],
    ...(trial === null ? [] : [['on trial', `${trial.boots} starts so far`] as const]),
    ...(slots === null
      ? []
      : ([
          ['active', slotText(slots.active)],
          ['previous', slotText(slots.previous)],
        ] as const)),
    ...(error === undefined ? [] : [['error', `${error.reason}: ${error.message}`] as const]),
  ]);
}

function slotText(slot: { sha256: string; size: number } | null): string {
  return slot === null ? 'none' : `${slot.sha256.slice(0, 16)}, ${bytesText(slot.size)}`;
}

function historyLine({
  startedAtMs,
  endedAtMs,
  model,
  from,
  to,
  outcome,
  bytesDownloaded,
  error,
}: HistoryEntry): string {
  const when = new Date(startedAtMs).toISOString().slice(0, 19);
  const seconds = (Math.max(0, endedAtMs - startedAtMs) / 1000).toFixed(1);
  const step = `${versionOf(from)} -> ${versionOf(to)}`;
  const why = error === null ? '' : `: ${error.reason}: ${error.message}`;
  return `${when}  ${model}  ${step}  ${outcome}, ${bytesText(bytesDownloaded)}, ${seconds} s${why}`;
}

function versionOf(model: { sha256: string; version: string | null } | null): string {
  return model === null ? 'none' : (model.version ?? model.sha256.slice(0, 12));
}
