/** `mallorn agent`: the daemon itself, and what is asked of one that runs. */

import type { Command } from 'commander';
import { AgentService } from '../agent-service.js';
import type { AgentConfig } from '../config.js';
import { jsonLog, type Log } from '../log.js';
import { serviceManager } from '../operations/service-manager.js';
import { redactor } from '../redact.js';
import type { Reported } from '../reported.js';
import { addAgentControl } from './agent-control-commands.js';
import { UsageError } from './failure.js';
import type { AddCommand, Session } from './session.js';

interface RunFlags {
  readonly config: string;
  readonly install?: readonly string[];
}

export const addAgent: AddCommand = (program, open) => {
  const agent = program
    .command('agent')
    .description('run the device agent until it is told to end, or ask the one that runs')
    .enablePositionalOptions();
  agent
    .command('run', { isDefault: true })
    .description('run the agent; `agent --config FILE` does it too')
    .requiredOption('--config <file>', 'its configuration')
    .option(
      '--install <model...>',
      'make the slots folder and put this model in it, if the device has none yet; then run. Of several: NAME=MODEL',
    )
    .action((flags: RunFlags, self: Command) => runAgent(open(self), flags));
  addAgentControl(agent, open);
};

async function runAgent({ platform, signal, onHangup }: Session, { config: path, install = [] }: RunFlags) {
  const { checkFiles, loadConfig, startAgent } = await platform.loadAgent();
  const initial = await loadConfig(path);
  const factory = factoryModels(initial, install);
  const log = logOf(initial);
  const manager = serviceManager(process.env, log);
  const told = new Map<string, string>();
  const onReported = ({ model, installed_version, status }: Reported): void => {
    const line = `${model} ${installed_version ?? '?'}: ${status}`;
    if (told.get(model) === line) return;
    told.set(model, line);
    manager.status([...told.values()].join('; '));
  };
  let reload: (() => void) | null = null;
  let isStale = false;
  onHangup(() => {
    if (reload === null) isStale = true;
    else reload();
  });
  const service = await AgentService.start({
    load: async () => {
      const config = await loadConfig(path);
      await checkFiles(config);
      return config;
    },
    start: (config: AgentConfig, again) => {
      const { version: agentVersion, workerEntry } = platform;
      const factoryModels = again ? new Map<string, string>() : factory;
      return startAgent({ config, agentVersion, workerEntry, log: logOf(config), factoryModels, again, onReported });
    },
    manager,
    log,
  });
  reload = () => service.reload();
  if (isStale) reload();
  if (!signal.aborted) {
    const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    await Promise.race([ended, service.lost]);
  }
  await service.stop();
}

function logOf({ log, mqtt }: AgentConfig): Log {
  return jsonLog((line) => process.stderr.write(line), { ...log, redact: redactor([mqtt.password]) });
}

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
