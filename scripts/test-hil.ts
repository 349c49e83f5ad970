/**
 * The suite of the emulated microcontroller (hil-tests/board): builds the firmware, runs the suite on it, and ends with one line of
 * JSON. RAM is the linker's limit, stack included, of the firmware that ran. Without the tools that scripts/hil-setup.sh installs,
 * it skips itself; in CI (CI=true) that fails.
 *
 *   npm run test:hil                     all of it
 *   npm run test:hil -- PART             the cases whose name contains PART
 *   HIL_PORT=/dev/ttyUSB0 [HIL_POWER_CMD=COMMAND] npm run test:hil       on a board at a serial port, see docs/firmware.md
 */
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { toHex } from '../core/hex.js';
import { CASES, root } from '../hil-tests/board/cases.js';
import { LINUX_CASES } from '../hil-tests/board/linux-cases.js';
import { buildFirmware, DEFAULT_STACK_BYTES, type Firmware } from './build-firmware.js';
import { ONE_SLOT_SCRATCH_BLOCKS } from './device-flags.js';
import { root as checkout, nodeBundle, packageVersion } from './esbuild-options.js';

/** With which the suite passes whatever the timing; docs/firmware.md says what it needs at least. */
const RAM_SIGNED_KIB = 84;
const RAM_UNSIGNED_KIB = 80;
const MOST_CODE_KIB = 261;

interface Report {
  readonly failed: number;
  readonly skipped: number;
  /** null when nothing was built. */
  readonly ramSignedKiB: number | null;
  readonly ramUnsignedKiB: number | null;
  readonly codeKiB: number | null;
}

const part = process.argv[2] ?? '';
const report = process.env['HIL_PORT'] === undefined ? await runEmulated() : await runOnPort();
console.log(JSON.stringify(report));
process.exitCode = report.failed === 0 ? 0 : 1;

async function runEmulated(): Promise<Report> {
  const missing = missingTools();
  return missing === null ? runSuite() : withoutTools(missing);
}

/** What is missing; null when all is there. */
function missingTools(): string | null {
  const { status, stdout, stderr } = spawnSync(join(checkout, 'scripts/hil-setup.sh'), ['--check'], {
    encoding: 'utf8',
  });
  return status === 0 ? null : (stdout ?? '').trim() || (stderr ?? '').trim() || 'scripts/hil-setup.sh does not run';
}

function withoutTools(reason: string): Report {
  const inCi = process.env['CI'] === 'true';
  const count = [...CASES, ...LINUX_CASES].filter(({ name }) => name.includes(part)).length;
  console.log(`${inCi ? 'FAILED' : 'skipped'}: ${reason}. scripts/hil-setup.sh installs it.`);
  const outcome = inCi ? { failed: count, skipped: 0 } : { failed: 0, skipped: count };
  return { ...outcome, ramSignedKiB: null, ramUnsignedKiB: null, codeKiB: null };
}

async function runSuite(): Promise<Report> {
  const stackBytes = DEFAULT_STACK_BYTES;
  const rootKey = toHex(root.publicKey);
  const ramBytes = RAM_SIGNED_KIB * 1024;
  const signed = await buildFirmware({ signed: true, rootKey, ramBytes, stackBytes });
  const oneSlot = await buildFirmware({
    name: 'mallorn-one-slot',
    signed: true,
    scratchBlocks: ONE_SLOT_SCRATCH_BLOCKS,
    ramBytes,
    stackBytes,
  });
  const unsigned = await buildFirmware({
    name: 'mallorn-unsigned',
    signed: false,
    ramBytes: RAM_UNSIGNED_KIB * 1024,
    stackBytes,
  });
  let outcome = await runBundled('hil-tests/board/board.main.ts', [signed.elf, unsigned.elf, oneSlot.elf, part]);
  const codeKiB = Math.ceil(signed.codeBytes / 1024);
  if (codeKiB > MOST_CODE_KIB) {
    console.error(`code: expected at most ${MOST_CODE_KIB} KiB, got ${codeKiB}`);
    outcome = { ...outcome, failed: outcome.failed + 1 };
  }
  return { ...outcome, ramSignedKiB: ramKiB(signed), ramUnsignedKiB: ramKiB(unsigned), codeKiB };
}

/** The suite of a board at a serial port: nothing is built, and its memory is its own. */
async function runOnPort(): Promise<Report> {
  const outcome = await runBundled('hil-tests/board/port.main.ts', [part]);
  return { ...outcome, ramSignedKiB: null, ramUnsignedKiB: null, codeKiB: null };
}

/** In a process of its own, which reports how many cases failed and were skipped. */
async function runBundled(entry: string, args: readonly string[]): Promise<{ failed: number; skipped: number }> {
  const outfile = join(checkout, '.build', basename(entry).replace(/ts$/, 'mjs'));
  await build({
    ...nodeBundle,
    entryPoints: [entry],
    outfile,
    define: {
      'import.meta.url': JSON.stringify(`file://${join(checkout, entry)}`),
      MALLORN_VERSION: JSON.stringify(packageVersion()),
    },
  });
  const child = fork(outfile, args);
  let outcome = { failed: 1, skipped: 0 };
  child.on('message', (message: typeof outcome) => {
    outcome = message;
  });
  await once(child, 'close');
  return outcome;
}

/** From the linker's map: all of the RAM region is data, heap or stack. */
function ramKiB({ elf }: Firmware): number {
  const [, length] = /^ram\s+0x[0-9a-f]+\s+0x([0-9a-f]+)/m.exec(readFileSync(elf.replace(/elf$/, 'map'), 'utf8')) ?? [];
  return Number.parseInt(length!, 16) / 1024;
}
