/** The suite of the emulated board and of `qjs`, as scripts/test-hil.ts runs it. Prints a line a case; the exit code is the number that failed. */
import { CASES, skipped } from './cases.js';
import { LINUX_CASES } from './linux-cases.js';

const [signed, unsigned, oneSlot, part = ''] = process.argv.slice(2);
let failed = 0;
let left = 0;
for (const each of [...CASES, ...LINUX_CASES].filter(({ name }) => name.includes(part))) {
  if (skipped(each)) {
    left++;
    console.log(`skipped: ${each.name}`);
    continue;
  }
  const began = performance.now();
  try {
    await each.run({ signed: signed!, unsigned: unsigned!, oneSlot: oneSlot! });
    console.log(`ok: ${each.name} (${Math.round(performance.now() - began)} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAILED: ${each.name}: ${error instanceof Error ? error.stack : error}`);
  }
}
process.send?.({ failed, skipped: left });
process.exit(failed === 0 ? 0 : 1);
