/**
 * Builds the microcontroller's program and firmware into dist/firmware: `npx tsx scripts/build-firmware.ts [--unsigned] [--root-key HEX]
 * [--one-slot] [--ram BYTES] [--stack BYTES]`. scripts/hil-setup.sh must have run. Prints what the code consists of.
 *
 * Every function and every property name of the bundle lies in flash as the engine's own structures. So the bundle goes through
 * Closure Compiler's whole-program optimisation, which no other bundle needs; then the emulated board evaluates it, and the firmware
 * is linked over what that left (firmware/freeze.ts).
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { deviceDefines, ONE_SLOT_SCRATCH_BLOCKS } from './device-flags.js';
import { neutralBundle, root } from './esbuild-options.js';
import { memoryAfter } from './firmware/board-memory.js';
import { type Evaluated, freeze, symbolsOf } from './firmware/freeze.js';
import { stripMessages } from './firmware/strip-messages.js';
import { twoSlotsOnly } from './firmware/two-slots.js';

export interface FirmwareOptions {
  /** Of the files. Default mallorn. */
  readonly name?: string;
  /** The program. Default the device's. */
  readonly entry?: string;
  /** False leaves trust to a gateway, and the verifier out. */
  readonly signed: boolean;
  /** Ed25519 public key in hex that the device takes key records from. Default none. */
  readonly rootKey?: string;
  /** Above 0 for a device with one slot (scripts/device-flags.ts). Default 0. */
  readonly scratchBlocks?: number;
  /** The linker's limit for data, heap and stack together, in bytes. */
  readonly ramBytes: number;
  readonly stackBytes: number;
}

export interface Firmware {
  readonly elf: string;
  /** Code and constants, the bytecode among them, in bytes. */
  readonly codeBytes: number;
  /** Of esbuild's output before it is optimised: bytes by source file. */
  readonly parts: Readonly<Record<string, number>>;
}

/** The emulated board's. */
const MEMORY_BYTES = 0xc0000;

export const DEFAULT_STACK_BYTES = 10240;
/**
 * What a patch of the mcu profile declares when no segment of 16 KiB gets smaller: frame, packed segment, contexts, two I/O
 * buffers. A sparse one declares less than 8 KiB, and only what is declared is allocated.
 */
const MAX_BUFFER_BYTES = 21504;

export async function buildFirmware({
  name = 'mallorn',
  entry = 'targets/quickjs/board.main.ts',
  signed,
  rootKey = '',
  scratchBlocks = 0,
  ramBytes,
  stackBytes,
}: FirmwareOptions): Promise<Firmware> {
  const folder = join(root, 'dist/firmware');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  const result = await build({
    ...neutralBundle,
    entryPoints: [entry],
    target: 'es2022',
    minify: false,
    minifySyntax: true,
    write: false,
    plugins: scratchBlocks === 0 ? [twoSlotsOnly] : [],
    define: deviceDefines({
      signed,
      zstd: false,
      nativeHash: true,
      maxBufferBytes: MAX_BUFFER_BYTES,
      rootKey,
      scratchBlocks,
    }),
    // Fields are assigned in the constructor: as a class element, they would cost each class a function.
    tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
  });
  writeFileSync(`${path}.bundle.js`, stripMessages(result.outputFiles![0]!.text));
  optimise(`${path}.bundle.js`, `${path}.js`);
  const script = join(root, 'targets/firmware/build.sh');
  execFileSync(script, ['freeze', `${path}.js`, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const frozen = freeze(await evaluated(`${path}-a.elf`), await evaluated(`${path}-b.elf`));
  writeFileSync(`${path}.S`, frozen.source);
  writeFileSync(`${path}.globals`, `${frozen.names.join('\n')}\n`);
  execFileSync(script, ['link', `${path}.S`, `${path}.elf`, String(ramBytes), String(stackBytes)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [output] = Object.values(result.metafile!.outputs);
  const parts = Object.fromEntries(
    Object.entries(output!.inputs).map(([path, { bytesInOutput }]) => [path, bytesInOutput]),
  );
  return { elf: `${path}.elf`, codeBytes: codeBytes(`${path}.elf`), parts };
}

async function evaluated(elf: string): Promise<Evaluated> {
  return { memory: await memoryAfter(elf, 'frozen', MEMORY_BYTES), symbols: symbolsOf(elf) };
}

function optimise(input: string, output: string): void {
  const cache = process.env['MALLORN_HIL_CACHE'] ?? join(root, '.cache/hil');
  execFileSync(
    process.execPath,
    [
      join(cache, 'closure/node_modules/google-closure-compiler/cli.js'),
      ...['--compilation_level', 'ADVANCED', '--language_in', 'ECMASCRIPT_NEXT', '--language_out', 'ECMASCRIPT_2021'],
      ...['--externs', join(root, 'scripts/firmware/host-names.externs'), '--js', input, '--js_output_file', output],
      ...[
        '--assume_function_wrapper',
        '--isolation_mode',
        'IIFE',
        '--rewrite_polyfills',
        'false',
        '--warning_level',
        'QUIET',
      ],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
}

function codeBytes(elf: string): number {
  const [, figures] = execFileSync('arm-none-eabi-size', [elf], { encoding: 'utf8' }).split('\n');
  const [text, data] = figures!.trim().split(/\s+/).map(Number);
  return text! + data!;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      unsigned: { type: 'boolean', default: false },
      'root-key': { type: 'string', default: '' },
      'one-slot': { type: 'boolean', default: false },
      ram: { type: 'string' },
      stack: { type: 'string' },
    },
  });
  const ramBytes = Number(values.ram ?? 180 * 1024);
  const stackBytes = Number(values.stack ?? DEFAULT_STACK_BYTES);
  const firmware = await buildFirmware({
    signed: !values.unsigned,
    rootKey: values['root-key'],
    scratchBlocks: values['one-slot'] ? ONE_SLOT_SCRATCH_BLOCKS : 0,
    ramBytes,
    stackBytes,
  });
  const parts = Object.entries(firmware.parts).sort(([, a], [, b]) => b - a);
  for (const [path, bytes] of parts) console.log(`${String(bytes).padStart(7)}  ${path}`);
  const script = readFileSync(firmware.elf.replace(/elf$/, 'js')).length;
  console.log(`${firmware.elf}: ${firmware.codeBytes} bytes of code, ${script} of them as optimised JavaScript text`);
}

if (process.argv[1]?.endsWith('build-firmware.ts')) await main();
