/** The commands that `bench:speed` compares. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './esbuild-options.js';

/** Above this, zstd's match window has to be widened by hand. */
const ZSTD_WINDOW_LOG = 30;

export interface Files {
  readonly source: string;
  readonly target: string;
  readonly patch: string;
  readonly output: string;
}

export interface Tool {
  readonly name: string;
  readonly create: (files: Files) => readonly string[];
  readonly apply: (files: Files) => readonly string[];
}

const cli = [process.execPath, join(root, 'dist/cli.js')];
/** Our command line as a tool. */
export const ours = (name: string, ...flags: string[]): Tool => ({
  name,
  create: ({ source, target, patch }) => [...cli, 'create', source, target, '-o', patch, ...flags],
  apply: ({ source, patch, output }) => [...cli, 'apply', source, patch, '-o', output],
});
export const OTHER_TOOLS: readonly Tool[] = [
  {
    name: 'bsdiff',
    create: ({ source, target, patch }) => ['bsdiff', source, target, patch],
    apply: ({ source, patch, output }) => ['bspatch', source, output, patch],
  },
  {
    name: 'xdelta3',
    create: ({ source, target, patch }) => ['xdelta3', '-f', '-B', String(2 ** 30), '-e', '-s', source, target, patch],
    apply: ({ source, patch, output }) => ['xdelta3', '-f', '-B', String(2 ** 30), '-d', '-s', source, patch, output],
  },
  {
    name: 'zstd',
    create: ({ source, target, patch }) => [
      'zstd',
      '-qf',
      '-3',
      `--long=${ZSTD_WINDOW_LOG}`,
      `--patch-from=${source}`,
      target,
      '-o',
      patch,
    ],
    apply: ({ source, patch, output }) => [
      'zstd',
      '-qfd',
      `--long=${ZSTD_WINDOW_LOG}`,
      `--patch-from=${source}`,
      patch,
      '-o',
      output,
    ],
  },
];

export function isInstalled(tool: string): boolean {
  return spawnSync('which', [tool]).status === 0;
}
