/** What operations (control socket, metrics, Home Assistant) see of an agent: enough to show and to ask, no more. */
import type { Reported } from '../reported.js';
import type { HistoryEntry } from './update-history.js';

export interface SlotStatus {
  /** Hex. */
  readonly sha256: string;
  readonly size: number;
}

export interface UnitStatus extends Reported {
  /** The unit's label: of a child `CHILD/MODEL`. */
  readonly model: string;
  /** Starts of the agent since the model is on trial; null where none is. */
  readonly trial: { readonly boots: number } | null;
  readonly slots: { readonly active: SlotStatus | null; readonly previous: SlotStatus | null } | null;
}

export interface AgentStatus {
  readonly device: string;
  readonly agentVersion: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly connection: { readonly connected: boolean; readonly broker: string; readonly reconnects: number };
  readonly models: readonly UnitStatus[];
}

/** What was done about a request; `idle`: there was nothing that it could be about. */
export type Done = 'done' | 'idle';

export interface OperatedUnit {
  readonly name: string;
  status(): UnitStatus;
  retry(): Done;
  rollBack(): Done;
  /** Consents to an update that waits for it, or says that the model on trial is good. */
  confirm(): Done;
}

export interface OperatedAgent {
  readonly units: readonly OperatedUnit[];
  status(): AgentStatus;
  /** Oldest first. */
  history(): readonly HistoryEntry[];
}
