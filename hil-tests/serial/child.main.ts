/** Children of the agent; run by scripts/test-serial.ts. The agent in this process has its apply threads from here too. */

import { playAgentRole } from '../support/agent-rig.js';
import { CHILD_CASES } from './child-cases.js';
import { CHILD_EXCHANGE_CASES } from './child-exchange-cases.js';
import { CHILD_ONE_SLOT_CASES } from './child-one-slot-cases.js';
import { CHILD_POLICY_CASES } from './child-policy-cases.js';
import { runCases } from './run-cases.js';

if (!playAgentRole()) {
  await runCases([...CHILD_CASES, ...CHILD_POLICY_CASES, ...CHILD_ONE_SLOT_CASES, ...CHILD_EXCHANGE_CASES]);
}
