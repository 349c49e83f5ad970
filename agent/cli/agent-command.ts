/** `mallorn agent`. */

import type { Command } from 'commander';
import type { AgentConfig } from '../config.js';
import { jsonLog } from '../log.js';
import { UsageError } from './failure.js';
import type { AddCommand } from './session.js';

export const addAgent: AddCommand = (program, open) => {
  program
    .command('agent')
    .description('run the device agent until it is told to end')
    .requiredOption('--config <file>', 'its configuration')
    .option(
      '--install <model...>',
      'make the slots folder and put this model in it, if the device has none yet; then run. Of several: NAME=MODEL',
    )
    .action(async ({ config: path, install = [] }: { config: string; install?: string[] }, self: Command) => {
      const { platform, signal } = open(self);
      const { loadConfig, startAgent } = await platform.loadAgent();
      const config = await loadConfig(path);
      const log = jsonLog((line) => process.stderr.write(line));
      const agent = await startAgent({
        config,
        agentVersion: platform.version,
        workerEntry: platform.workerEntry,
        log,
        factoryModels: factoryModels(config, install),
      });
      if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      await agent.stop();
    });
};

/** Paths by name of the model. @throws UsageError for a name that the configuration does not have. */
function factoryModels({ model, models = [] }: AgentConfig, install: readonly string[]): Map<string, string> {
  if (model !== undefined) {
    if (install.length > 1) throw new UsageError(`expected one model to install, got ${install.length}`);
    return new Map(install.map((path) => [model.name, path]));
  }
  return new Map(
    install.map((text) => {
      const [, name = '', path = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
      if (models.some((entry) => entry.name === name)) return [name, path];
      const names = models.map((entry) => entry.name).join(', ');
      throw new UsageError(`--install: expected NAME=MODEL with NAME one of ${names}, got ${text}`);
    }),
  );
}
