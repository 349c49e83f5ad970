/** One thing that this agent keeps at the version it is told to have, independent of the others. */
import type { SlotContents } from '../core/ports.js';
import type { AgentRuntime } from './runtime.js';
import type { LinkUnit } from './unit-channel.js';

/** What its slots hold, for people. @throws IoError when they cannot be read */
export interface UnitSlots {
  active(): SlotContents | null;
  previous(): SlotContents | null;
  trial(): { readonly boots: number } | null;
}

export interface Unit extends LinkUnit {
  /** Of its model; unique within the agent. */
  readonly name: string;
  readonly runtime: AgentRuntime;
  /** Folder of its slots. */
  readonly slotsPath: string;
  /** Undefined where they are another device's. */
  readonly slots?: UnitSlots;
  /** Parks what is under way and lets go of the slots. */
  stop(): Promise<void>;
}
