/** `mallorn simulate-mcu`. */

import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from './failure.js';
import { readPublicKeyFile } from './key-options.js';
import { table } from './output.js';
import { type AddCommand, integer } from './session.js';

interface SimulateFlags {
  readonly model?: string;
  readonly pubkey?: readonly string[];
  readonly rootKey?: string;
  readonly flash?: string;
  readonly pty?: string | false;
  readonly tcpPort: number;
  readonly packetBytes?: number;
  readonly oneSlot?: number;
}

export const addSimulateMcu: AddCommand = (program, open) => {
  program
    .command('simulate-mcu')
    .description("run a microcontroller's program on this machine, to be flashed through the port it prints")
    .option('--model <file>', 'the model it has from the factory')
    .option('--pubkey <file...>', 'keys it trusts; without, it checks no signatures')
    .option('--root-key <file>', 'who may give it other keys (docs/trust.md): a public key; without, those stay')
    .option('--flash <file>', "keep its flash part's content here; without, it is forgotten at the end")
    .option(
      '--pty <path>',
      'where to put its serial port, which needs socat (default: mallorn-mcu-PID in the temporary folder)',
    )
    .option('--no-pty', 'TCP alone')
    .option('--tcp-port <number>', 'the same line over TCP, on this machine alone; 0 for any', integer, 0)
    .option('--packet-bytes <number>', 'size of its buffer for a packet', integer)
    .option('--one-slot <blocks>', 'room for one model only, and so many erase blocks to write it in place', integer)
    .action(async (flags: SimulateFlags, self: Command) => {
      const session = open(self);
      const { platform, output, signal } = session;
      const { rootKey, pubkey } = flags;
      if (rootKey !== undefined && pubkey === undefined) throw new UsageError('--root-key goes with --pubkey');
      const { startSimulator } = await platform.loadSimulator();
      const simulator = await startSimulator({
        keys: await Promise.all((pubkey ?? []).map((path) => readPublicKeyFile(session, path))),
        ptyPath: flags.pty === false ? null : (flags.pty ?? join(tmpdir(), `mallorn-mcu-${process.pid}`)),
        tcpPort: flags.tcpPort,
        ...(rootKey === undefined ? {} : { rootKey: await readPublicKeyFile(session, rootKey) }),
        ...(flags.model === undefined ? {} : { model: await readFile(flags.model) }),
        ...(flags.flash === undefined ? {} : { flashPath: flags.flash }),
        ...(flags.oneSlot === undefined ? {} : { scratchBlocks: flags.oneSlot }),
        ...(flags.packetBytes === undefined ? {} : { packetBytes: flags.packetBytes }),
      });
      const port = simulator.ptyPath ?? simulator.tcpUrl;
      output.result({ port, tcp: simulator.tcpUrl }, () => [
        ...table([
          ['port', port],
          ['tcp', simulator.tcpUrl],
        ]),
        `Now, elsewhere: mallorn flash --port ${port} --patch PATCH`,
      ]);
      const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      try {
        if (!signal.aborted) await Promise.race([aborted, simulator.ended]);
      } finally {
        await simulator.stop();
      }
    });
};
