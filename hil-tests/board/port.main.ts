/** The suite for a board at HIL_PORT, as scripts/test-hil.ts runs it. HIL_POWER_CMD switches the board off and on again. */
import { PortBoard, runPortCases } from './port-cases.js';

const board = new PortBoard(process.env['HIL_PORT']!, process.env['HIL_POWER_CMD'] ?? null);
const outcome = await runPortCases(board, process.argv[2] ?? '');
process.send?.(outcome);
process.exit(outcome.failed === 0 ? 0 : 1);
