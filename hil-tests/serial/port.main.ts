/** The part of the serial suite that needs socat. Prints a line a case; sends the parent its counts. */

import { KEY_CASES } from './key-cases.js';
import { efficiency, PORT_CASES } from './port-cases.js';
import { runCases } from './run-cases.js';

await runCases([...PORT_CASES, ...KEY_CASES]);
process.send?.({ efficiency });
