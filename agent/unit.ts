/** One thing that this agent keeps at the version it is told to have, independent of the others. */
import type { AgentRuntime } from './runtime.js';
import type { LinkUnit } from './unit-channel.js';

export interface Unit extends LinkUnit {
  /** Of its model; unique within the agent. */
  readonly name: string;
  readonly runtime: AgentRuntime;
  /** Folder of its slots. */
  readonly slotsPath: string;
  /** Parks what is under way and lets go of the slots. */
  stop(): Promise<void>;
}
