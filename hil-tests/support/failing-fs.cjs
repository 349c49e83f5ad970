// Preloaded into every thread of an agent: while the file MALLORN_FAULT.flag exists, the named call of node:fs fails with EIO
// on files whose path contains the given text, as on a medium that is about to die.
const fs = require('node:fs');
const { syncBuiltinESMExports } = require('node:module');

const { call, path, flag } = JSON.parse(process.env.MALLORN_FAULT);
const real = fs[call];
fs[call] = (fd, ...rest) => {
  if (fs.existsSync(flag) && fs.readlinkSync(`/proc/self/fd/${fd}`).includes(path)) {
    const syscall = call.replace('Sync', '');
    throw Object.assign(new Error(`EIO: i/o error, ${syscall}`), { code: 'EIO', errno: -5, syscall });
  }
  return real(fd, ...rest);
};
syncBuiltinESMExports();
