/** `mallorn flash` and `mallorn devices`. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { IoError } from '../../core/errors.js';
import { claimedVersion, KEY_RECORD_BYTES } from '../../core/slots/key-record.js';
import { messageOf } from '../message-of.js';
import { UsageError } from './failure.js';
import { bytesText, table } from './output.js';
import type { FlashResult, KeysResult, Serial } from './platform.js';
import { showProgress, TRANSFER_FORMAT } from './progress.js';
import { readSmallFile } from './read-file.js';
import { type AddCommand, integer, type Session } from './session.js';

interface FlashFlags {
  readonly port: string;
  readonly patch?: string;
  readonly keys?: string;
  readonly baud?: number;
  readonly framing?: string;
  readonly model?: string;
  readonly filePath?: string;
  readonly wait: number;
  readonly activate: boolean;
  readonly confirm?: true;
}

export const addFlash: AddCommand = (program, open) => {
  program
    .command('flash')
    .description(
      'bring a patch, other trusted keys, or both to a microcontroller over a serial line; goes on where it ended',
    )
    .requiredOption('--port <port>', 'serial port, or tcp://HOST:PORT of a serial server')
    .option('--patch <patch>', 'patch from the model the device has')
    .option('--keys <record>', 'key record (mallorn trust key-record); in force before a patch is sent')
    .option('--baud <number>', 'speed of the line', integer)
    .option('--framing <name>', 'console or raw (default: what the device says it has)')
    .option('--model <file>', 'the whole new model, for devices that know no patches')
    .option('--file-path <path>', 'where such a device wants it in its file system; without, it is sent as an image')
    .option('--wait <seconds>', 'how long the port may be gone in between', integer, 60)
    .option('--no-activate', 'only put it in the other slot')
    .option('--confirm', 'end the trial of the new model at once')
    .action(async (flags: FlashFlags, self: Command) => {
      const session = open(self);
      checkFlags(flags);
      const serial = await session.platform.loadSerial();
      const readOptional = async (path: string | undefined) => (path === undefined ? null : read(path));
      const [patch, model] = await Promise.all([readOptional(flags.patch), readOptional(flags.model)]);
      const record = flags.keys === undefined ? null : await readSmallFile(flags.keys, KEY_RECORD_BYTES);
      if (record !== null) claimedVersion(record);
      const { framing } = flags;
      if (framing !== undefined && framing !== 'console' && framing !== 'raw') {
        throw new RangeError(`--framing: expected console or raw, got ${framing}`);
      }
      const view = showProgress(!session.output.json, TRANSFER_FORMAT);
      const line: Parameters<Serial['persistently']>[0] = {
        open: () => serial.openPort(flags.port, flags.baud),
        clientOptions: { signal: session.signal },
        patienceMs: flags.wait * 1000,
        onLost: (reason, nextTryMs) => session.output.warning(`${reason.message}; trying again in ${nextTryMs} ms`),
      };
      let keys: KeysResult | null = null;
      try {
        const result = await serial.persistently(line, async (client) => {
          if (record !== null) keys ??= await serial.sendKeyRecord(client, record);
          if (patch === null) return null;
          return serial.flash({
            client,
            patch,
            activate: flags.activate,
            confirm: flags.confirm === true,
            onProgress: view.update,
            ...(model === null ? {} : { model }),
            ...(flags.filePath === undefined ? {} : { filePath: flags.filePath }),
            ...(framing === undefined ? {} : { framing }),
          });
        });
        view.stop();
        session.output.result({ port: flags.port, ...(keys === null ? {} : { keys }), ...result }, () =>
          table([['port', flags.port], ...keysRows(keys), ...(result === null ? [] : resultRows(result))]),
        );
      } catch (error) {
        view.stop();
        if (keys !== null) session.output.warning(`keys: ${keysText(keys)}; what followed failed`);
        throw error;
      } finally {
        view.stop();
      }
    });
};

function checkFlags(flags: FlashFlags): void {
  if (flags.patch !== undefined) return;
  if (flags.keys === undefined) throw new UsageError('expected --patch, --keys or both, got neither');
  const { model, filePath, framing, confirm } = flags;
  const idle = Object.entries({
    '--model': model,
    '--file-path': filePath,
    '--framing': framing,
    '--confirm': confirm,
  });
  for (const [name, value] of idle) if (value !== undefined) throw new UsageError(`${name} goes with --patch`);
}

function keysRows(keys: KeysResult | null): [string, string][] {
  return keys === null ? [] : [['keys', keysText(keys)]];
}

function keysText({ version, before, alreadyThere }: KeysResult): string {
  if (alreadyThere) return `version ${version}, which the device has already`;
  return `version ${version} in force, before ${before === 0 ? "the factory's" : `version ${before}`}`;
}

function resultRows(result: FlashResult): [string, string][] {
  return [
    ['sent', sentText(result)],
    ['state', result.state ?? 'not told'],
  ];
}

function sentText({ alreadyThere, method, payloadBytes, bytesSent, resumedAt }: FlashResult): string {
  if (alreadyThere) return 'nothing: the device has that model already';
  const what = { delta: 'patch', file: 'whole model as a file', image: 'whole model as an image' }[method];
  const resumed = resumedAt === 0 ? '' : `, on from byte ${resumedAt}`;
  return `${what}, ${bytesText(payloadBytes)} (${bytesText(bytesSent)} on the line${resumed})`;
}

export const addDevices: AddCommand = (program, open) => {
  program
    .command('devices')
    .description('list serial ports; with --port, what the microcontroller there is and has')
    .option('--port <port>', 'ask the device there')
    .option('--baud <number>', 'speed of the line', integer)
    .action(async (flags: { port?: string; baud?: number }, self: Command) => {
      const session = open(self);
      const serial = await session.platform.loadSerial();
      if (flags.port === undefined) {
        const ports = await serial.listPorts();
        session.output.result({ ports }, () =>
          ports.length === 0 ? ['no serial ports'] : table(ports.map(({ path, ...of }) => [path, portText(of)])),
        );
        return;
      }
      const client = await connect(serial, session, { ...flags, port: flags.port });
      try {
        const device = await serial.describe(client);
        session.output.result({ port: flags.port, ...device }, () =>
          table([
            ['port', flags.port!],
            ['takes', device.methods.join(', ') || 'no updates'],
            ['buffer', `${bytesText(device.bufferBytes)}, ${device.bufferCount} at a time`],
            ...(device.info === null ? [] : infoRows(device.info)),
          ]),
        );
      } finally {
        await client.close();
      }
    });
};

function portText({
  manufacturer,
  serialNumber,
}: {
  manufacturer: string | null;
  serialNumber: string | null;
}): string {
  return [manufacturer, serialNumber].filter((text) => text !== null).join(', ');
}

function infoRows(info: Readonly<Record<string, unknown>>): [string, string][] {
  const { keys } = info;
  const keysRow: [string, string][] =
    typeof keys === 'number' ? [['keys', keys === 0 ? "the factory's" : `version ${keys}`]] : [];
  const slots = ['active', 'other'].map((name): [string, string] => {
    const { state, size, sha } = (info[name] ?? {}) as { state?: unknown; size?: unknown; sha?: unknown };
    const hash = sha instanceof Uint8Array ? `, sha256 ${Buffer.from(sha).toString('hex')}` : '';
    return [name, `${state}${typeof size === 'number' ? `, ${bytesText(size)}` : ''}${hash}`];
  });
  return [...slots, ...keysRow];
}

/** Who only asks does not wait for a device that checks a signature. */
const ANSWERS_WITHIN_MS = 5000;

async function connect(serial: Serial, { signal }: Session, { port, baud }: { port: string; baud?: number }) {
  const link = await serial.openPort(port, baud);
  return new serial.SmpClient(link, { signal, patienceMs: ANSWERS_WITHIN_MS });
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new IoError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
