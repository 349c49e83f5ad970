/** The part of the serial suite that needs no other process. Prints a line a case; sends the parent its counts. */

import { LINK_CASES } from './link-cases.js';
import { runCases } from './run-cases.js';

await runCases(LINK_CASES);
