/**
 * Tells systemd how the service is (sd_notify(3)): ready, status line, watchdog, reload, end. Node has no datagram sockets of
 * AF_UNIX, so that systemd's own `systemd-notify` carries the words; where systemd runs a service, it is there. It is a child
 * process, which is why the unit file says NotifyAccess=all.
 */
import { execFile } from 'node:child_process';
import type { Log } from '../log.js';

export interface ServiceManager {
  ready(): void;
  reloading(): void;
  stopping(): Promise<void>;
  /** A line for people in `systemctl status`. */
  status(text: string): void;
  close(): void;
}

const TOOL_TIMEOUT_MS = 5000;
const MAX_STATUS_LENGTH = 200;

/** One that does nothing where no service manager has asked to be told. */
export function serviceManager(env: NodeJS.ProcessEnv, log: Log): ServiceManager {
  if (env['NOTIFY_SOCKET'] === undefined) return SILENT;
  return new Systemd(env, log);
}

const SILENT: ServiceManager = {
  ready: () => {},
  reloading: () => {},
  stopping: async () => {},
  status: () => {},
  close: () => {},
};

class Systemd implements ServiceManager {
  private readonly env: NodeJS.ProcessEnv;
  private readonly log: Log;
  private readonly watchdog: NodeJS.Timeout | null;
  /** One message at a time, in order. */
  private sent: Promise<void> = Promise.resolve();
  private waitingStatus: string | null = null;
  private failed = false;

  constructor(env: NodeJS.ProcessEnv, log: Log) {
    this.env = env;
    this.log = log;
    const intervalMs = watchdogIntervalMs(env);
    // A main thread that hangs does not get here, and systemd starts the agent again.
    this.watchdog = intervalMs === null ? null : setInterval(() => void this.send('WATCHDOG=1'), intervalMs).unref();
  }

  ready(): void {
    void this.send('READY=1');
  }

  reloading(): void {
    // CLOCK_MONOTONIC, which Type=notify-reload wants.
    void this.send('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(): Promise<void> {
    return this.send('STOPPING=1');
  }

  /** The latest is what counts: those that wait for their turn are replaced. */
  status(text: string): void {
    const isWaiting = this.waitingStatus !== null;
    this.waitingStatus = text.replace(/\s+/g, ' ').slice(0, MAX_STATUS_LENGTH);
    if (isWaiting) return;
    this.sent = this.sent.then(() => {
      const latest = this.waitingStatus ?? '';
      this.waitingStatus = null;
      return this.tell([`STATUS=${latest}`]);
    });
  }

  close(): void {
    if (this.watchdog !== null) clearInterval(this.watchdog);
  }

  private send(...assignments: string[]): Promise<void> {
    this.sent = this.sent.then(() => this.tell(assignments));
    return this.sent;
  }

  private tell(assignments: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      execFile('systemd-notify', assignments, { timeout: TOOL_TIMEOUT_MS, env: this.env }, (error) => {
        // Once: an agent that cannot tell how it is works no worse.
        if (error !== null && !this.failed) this.log('warn', 'cannot notify systemd', { error: error.message });
        this.failed = error !== null;
        resolve();
      });
    });
  }
}

/** Half of what systemd allows, as it recommends; null where it does not watch this process. */
export function watchdogIntervalMs(env: NodeJS.ProcessEnv): number | null {
  const micros = Number(env['WATCHDOG_USEC']);
  const isOurs = env['WATCHDOG_PID'] === undefined || Number(env['WATCHDOG_PID']) === process.pid;
  return Number.isSafeInteger(micros) && micros > 0 && isOurs ? Math.max(1, Math.floor(micros / 2000)) : null;
}
