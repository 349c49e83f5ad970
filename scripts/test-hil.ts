/**
 * The suite of the emulated microcontroller (hil-tests/board): installs and builds what it needs, runs it, and ends with one
 * line of JSON. RAM is the linker's limit, stack included, of the firmware that ran.
 *
 *   npm run test:hil                     all of it
 *   npm run test:hil -- PART             the cases whose name contains PART
 */
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { buildFirmware, DEFAULT_STACK_BYTES, type Firmware } from './build-firmware.js';
import { nodeBundle, packageVersion, root } from './esbuild-options.js';

/** With which the suite passes, in steps of 8 or less; DESIGN's gates are 128 and 96. The unsigned build runs sparse patches only. */
const RAM_SIGNED_KIB = 216;
const RAM_UNSIGNED_KIB = 204;
const MOST_CODE_KIB = 260;

execFileSync(join(root, 'scripts/hil-setup.sh'), { stdio: 'inherit' });
const stackBytes = DEFAULT_STACK_BYTES;
const signed = await buildFirmware({ signed: true, ramBytes: RAM_SIGNED_KIB * 1024, stackBytes });
const unsigned = await buildFirmware({ signed: false, ramBytes: RAM_UNSIGNED_KIB * 1024, stackBytes });
const suite = join(root, '.build/board-suite.mjs');
await build({
  ...nodeBundle,
  entryPoints: ['hil-tests/board/board.main.ts'],
  outfile: '.build/board-suite.mjs',
  define: {
    'import.meta.url': JSON.stringify(`file://${join(root, 'hil-tests/board/board.main.ts')}`),
    MALLORN_VERSION: JSON.stringify(packageVersion()),
  },
});
const child = fork(suite, [signed.elf, unsigned.elf, ...process.argv.slice(2)]);
let outcome = { failed: 1, skipped: 0 };
child.on('message', (message: typeof outcome) => {
  outcome = message;
});
await once(child, 'close');
const codeKiB = Math.ceil(signed.codeBytes / 1024);
if (codeKiB > MOST_CODE_KIB) {
  console.error(`code: expected at most ${MOST_CODE_KIB} KiB, got ${codeKiB}`);
  outcome = { ...outcome, failed: outcome.failed + 1 };
}
const figures = { ramSignedKiB: ramKiB(signed), ramUnsignedKiB: ramKiB(unsigned), codeKiB };
console.log(JSON.stringify({ ...outcome, ...figures }));
process.exitCode = outcome.failed === 0 ? 0 : 1;

/** From the linker's map: all of the RAM region is data, heap or stack. */
function ramKiB({ elf }: Firmware): number {
  const [, length] = /^ram\s+0x[0-9a-f]+\s+0x([0-9a-f]+)/m.exec(readFileSync(elf.replace(/elf$/, 'map'), 'utf8')) ?? [];
  return Number.parseInt(length!, 16) / 1024;
}
