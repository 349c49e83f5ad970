// Preloaded into every thread of an agent: a call of node:fs (or, where MALLORN_HOLD.promises, of node:fs/promises) on a path that
// contains the given text waits for as long as the flag file exists, as on a medium that hangs. That it waits, the file FLAG.held says.
const fs = require('node:fs');
const { syncBuiltinESMExports } = require('node:module');
const { isMainThread } = require('node:worker_threads');

const { call, path, flag, promises, workers } = JSON.parse(process.env.MALLORN_HOLD);
const { existsSync, readlinkSync, writeFileSync } = fs;
const owner = promises ? fs.promises : fs;
const real = owner[call];

function concerns([file, other]) {
  if (workers && isMainThread) return false;
  const name = typeof file === 'number' ? readlinkSync(`/proc/self/fd/${file}`) : [file, other].join(' ');
  return name.includes(path) && existsSync(flag);
}

owner[call] = (...args) => {
  if (!concerns(args)) return real(...args);
  writeFileSync(`${flag}.held`, '');
  return promises ? waitThen(args) : blockThen(args);
};
syncBuiltinESMExports();

async function waitThen(args) {
  while (existsSync(flag)) await new Promise((resolve) => setTimeout(resolve, 5));
  return real(...args);
}

function blockThen(args) {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  while (existsSync(flag)) Atomics.wait(clock, 0, 0, 5);
  return real(...args);
}
