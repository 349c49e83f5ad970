/** An agent lives for years: what it keeps of one update must be gone with the next. `npm run bench:idle` does it longer. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { it } from 'node:test';
import { UpdateCycles } from './support/update-cycles.js';

const SCRATCH = existsSync('/dev/shm') ? '/dev/shm' : undefined;
const WARM = 2000;
const CYCLES = 4000;
/** Compiled code comes and goes; updates that left half a kilobyte each would be more. */
const MAX_GROWTH_BYTES = 1_000_000;

it(`holds no more after ${CYCLES} updates than after ${WARM}`, { timeout: 300_000 }, async (t) => {
  const cycles = await UpdateCycles.start(SCRATCH);
  try {
    await cycles.run(WARM);
    const before = await cycles.heapBytes();
    await cycles.run(CYCLES - WARM);
    const grown = (await cycles.heapBytes()) - before;
    t.diagnostic(`${before} bytes, ${grown} more after ${cycles.done} updates`);
    assert.equal(cycles.done, CYCLES);
    assert.ok(grown < MAX_GROWTH_BYTES, `grew by ${grown} bytes`);
  } finally {
    await cycles.stop();
  }
});
