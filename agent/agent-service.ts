/**
 * The agent as a service: started, reloaded by SIGHUP, stopped. A reload reads and checks the whole configuration first; only a good one
 * parks what is under way, and the agent starts anew in the same process, going on from its journals. One that cannot start after all
 * gives way to the configuration before.
 */
import type { Log } from './log.js';
import { messageOf } from './message-of.js';
import type { ServiceManager } from './operations/service-manager.js';

export interface ServiceOptions<Config> {
  /** Reads and checks the configuration and the files it names. @throws saying every problem */
  readonly load: () => Promise<Config>;
  /** `again`: this process has run an agent before. */
  readonly start: (config: Config, again: boolean) => Promise<{ stop(): Promise<void> }>;
  readonly manager: ServiceManager;
  readonly log: Log;
}

export class AgentService<Config> {
  private readonly options: ServiceOptions<Config>;
  private running: { readonly config: Config; stop(): Promise<void> } | null = null;
  /** Starts, reloads and the stop, one after another. */
  private work: Promise<void> = Promise.resolve();
  private reloadsAsked = 0;
  private readonly broken: (error: unknown) => void;
  /** Rejects when a reload has left no agent running. */
  readonly lost: Promise<never>;

  private constructor(options: ServiceOptions<Config>) {
    this.options = options;
    let broken: (error: unknown) => void = () => {};
    this.lost = new Promise((_, reject) => {
      broken = reject;
    });
    this.broken = broken;
    this.lost.catch(() => {});
  }

  /** @throws what loading and starting throw */
  static async start<Config>(options: ServiceOptions<Config>): Promise<AgentService<Config>> {
    const service = new AgentService(options);
    await service.begin(await options.load(), false);
    options.manager.ready();
    return service;
  }

  /** Those asked for while one waits for its turn are the same one. */
  reload(): void {
    if (this.reloadsAsked > 1) return;
    this.reloadsAsked++;
    this.work = this.work
      .then(() => this.reloadNow())
      .catch(this.broken)
      .finally(() => this.reloadsAsked--);
  }

  async stop(): Promise<void> {
    const { manager } = this.options;
    manager.close();
    const said = manager.stopping();
    await this.work;
    await this.running?.stop();
    await said;
  }

  private async reloadNow(): Promise<void> {
    const { load, manager, log } = this.options;
    manager.reloading();
    try {
      const before = this.running;
      const config = await loaded(load, log);
      if (config === null || before === null) return;
      await before.stop();
      this.running = null;
      try {
        await this.begin(config, true);
        log('info', 'configuration reloaded');
      } catch (error) {
        log('error', 'cannot start with the new configuration, going back', { problems: problemsOf(error) });
        await this.begin(before.config, true);
      }
    } finally {
      manager.ready();
    }
  }

  private async begin(config: Config, again: boolean): Promise<void> {
    const agent = await this.options.start(config, again);
    this.running = { config, stop: () => agent.stop() };
  }
}

async function loaded<Config>(load: () => Promise<Config>, log: Log): Promise<Config | null> {
  try {
    return await load();
  } catch (error) {
    log('error', 'the new configuration is not taken, the old one stays', { problems: problemsOf(error) });
    return null;
  }
}

/** ConfigError has them one by one. */
function problemsOf(error: unknown): readonly string[] {
  if (error instanceof Error && 'problems' in error && Array.isArray(error.problems)) return error.problems;
  return [messageOf(error)];
}
