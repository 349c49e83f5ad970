/** The part of the serial suite that needs Python's smpclient. Prints a line a case; sends the parent its counts. */

import { INTEROP_CASES } from './interop-cases.js';
import { runCases } from './run-cases.js';

await runCases(INTEROP_CASES);
