/**
 * Tells the application that another model is active: a small file replaced atomically, for whoever watches it, and a signal.
 * What it was told last is remembered on disk, so that a switch which a crash kept quiet is told at the next start: at least once,
 * and not again for the same model.
 */
import { readFile } from 'node:fs/promises';
import { JsonFile, type StateFile } from './json-file.js';
import type { Log } from './log.js';
import type { Installed } from './machine-types.js';
import { messageOf } from './message-of.js';

export interface NoticeRules {
  readonly file?: string | undefined;
  readonly signal?: NodeJS.Signals | undefined;
  readonly pidFile?: string | undefined;
}

export interface NoticeOptions {
  readonly rules: NoticeRules;
  readonly modelName: string;
  /** The path that always names the active model. */
  readonly currentPath: string;
  readonly memory: StateFile;
  readonly log: Log;
}

/** A process id and a line end fit many times. */
const MAX_PID_FILE_LENGTH = 64;

export class ModelNotice {
  private readonly options: NoticeOptions;
  /** SHA-256 of the model it knows of; undefined until the memory is read. */
  private known: string | undefined;
  private telling: Promise<void> = Promise.resolve();

  constructor(options: NoticeOptions) {
    this.options = options;
  }

  /** Resolves when it is told, or is known already. What goes wrong is logged: an update does not depend on it. */
  tell(installed: Installed | null): Promise<void> {
    if (installed !== null) {
      this.telling = this.telling
        .then(() => this.tellOnce(installed))
        .catch((error: unknown) => this.warn('cannot tell the application', error));
    }
    return this.telling;
  }

  private async tellOnce({ sha256, version }: Installed): Promise<void> {
    this.known ??= await this.remembered();
    if (this.known === sha256) return;
    const { rules, modelName, currentPath, memory } = this.options;
    if (rules.file !== undefined) {
      await new JsonFile(rules.file, 0o644).save({ model: modelName, sha256, version, path: currentPath });
    }
    if (rules.signal !== undefined) await this.signal(rules.signal);
    this.known = sha256;
    await memory.save({ sha256 });
  }

  private async remembered(): Promise<string> {
    const saved = (await this.options.memory.load()) as { sha256?: unknown } | undefined;
    return typeof saved?.sha256 === 'string' ? saved.sha256 : '';
  }

  /** An application that does not run now reads the new model when it starts. */
  private async signal(signal: NodeJS.Signals): Promise<void> {
    const { pidFile = '' } = this.options.rules;
    try {
      const text = (await readFile(pidFile, 'utf8')).slice(0, MAX_PID_FILE_LENGTH).trim();
      const pid = /^[0-9]{1,10}$/.test(text) ? Number(text) : 0;
      if (pid <= 1) throw new Error(`expected a process id in ${pidFile}, got ${JSON.stringify(text)}`);
      process.kill(pid, signal);
    } catch (error) {
      this.warn('the application was not signalled', error);
    }
  }

  private warn(message: string, error: unknown): void {
    this.options.log('warn', message, { error: messageOf(error) });
  }
}
