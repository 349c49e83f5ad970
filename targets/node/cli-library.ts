/** The library as a main file takes it: the public calls, and where its workers run. */

export * from './index.js';
export { signKeyRecord } from './key-record.js';
export { runWorkersFrom } from './worker-file.js';
