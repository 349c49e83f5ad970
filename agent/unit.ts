/** One thing that this agent keeps at the version it is told to have, independent of the others. */
import type { SlotContents } from '../core/ports.js';
import type { AgentRuntime } from './runtime.js';
import type { DeviceState, LinkUnit } from './unit-channel.js';

/** What its slots hold, for people. @throws IoError when they cannot be read */
export interface UnitSlots {
  active(): SlotContents | null;
  previous(): SlotContents | null;
  trial(): { readonly boots: number } | null;
}

export interface Unit extends LinkUnit {
  /** Of its model, or of the child; unique among the agent's models and among its children. */
  readonly name: string;
  /** What people and metrics know it by, unique in the agent: the model's name, or of a child `CHILD/MODEL`. */
  readonly label: string;
  readonly runtime: AgentRuntime;
  /** Folder of its slots; null where they are not on this machine. */
  readonly slotsPath: string | null;
  /** What is known of a microcontroller; null for a model of the agent's own. */
  readonly child: ChildFacts | null;
  /** Undefined where they are another device's. */
  readonly slots?: UnitSlots;
  /** Parks what is under way and lets go of the slots. */
  stop(): Promise<void>;
}

export interface ChildFacts {
  readonly port: string;
  readonly state: DeviceState;
}
