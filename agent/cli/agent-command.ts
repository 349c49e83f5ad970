/** `mallorn agent`. */

import type { Command } from 'commander';
import { jsonLog } from '../log.js';
import type { AddCommand } from './session.js';

export const addAgent: AddCommand = (program, open) => {
  program
    .command('agent')
    .description('run the device agent until it is told to end')
    .requiredOption('--config <file>', 'its configuration')
    .option('--install <model>', 'make the slots folder and put this model in it, if the device has none yet; then run')
    .action(async ({ config: path, install }: { config: string; install?: string }, self: Command) => {
      const { platform, signal } = open(self);
      const { loadConfig, startAgent } = await platform.loadAgent();
      const config = await loadConfig(path);
      const log = jsonLog((line) => process.stderr.write(line));
      const agent = await startAgent({
        config,
        agentVersion: platform.version,
        workerEntry: platform.workerEntry,
        log,
        ...(install === undefined ? {} : { factoryModel: install }),
      });
      if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      await agent.stop();
    });
};
