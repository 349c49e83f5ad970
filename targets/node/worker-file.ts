/** Which file our worker threads run. The library has one beside it; a program in a single file names itself. */

/** Set by the bundler: where the worker lies, seen from the bundle. */
declare const MALLORN_WORKER: string | undefined;

let named: URL | null = null;

/** For a main file that calls `serveCalls` when it runs as a worker. */
export function runWorkersFrom(file: URL): void {
  named = file;
}

export function workerFile(): URL {
  return named ?? new URL(typeof MALLORN_WORKER === 'string' ? MALLORN_WORKER : './worker.js', import.meta.url);
}
