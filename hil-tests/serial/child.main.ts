/** Children of the agent; run by scripts/test-serial.ts. */

import { CHILD_CASES } from './child-cases.js';
import { runCases } from './run-cases.js';

await runCases(CHILD_CASES);
