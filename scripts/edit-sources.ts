/** Bundles with edits of the production source: mutants that tests must kill, and ideas that a benchmark switches off. */

import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Plugin } from 'esbuild';
import type { Edit } from '../hil-tests/support/edit.js';
import { root } from './esbuild-options.js';

/** Fails the build when an edit's text is not there exactly once. @param applied gets the edits whose file the bundle reaches */
export function editing(edits: readonly Edit[], applied: Set<Edit>): Plugin {
  return {
    name: 'edit-production-sources',
    setup(builder) {
      builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const file = relative(root, path).replaceAll('\\', '/');
        const own = edits.filter((edit) => edit.file === file);
        if (own.length === 0) return null;
        let contents = readFileSync(path, 'utf8');
        for (const edit of own) {
          const count = contents.split(edit.from).length - 1;
          if (count !== 1) throw new Error(`expected once in ${file}, got ${count} times: ${edit.from}`);
          contents = contents.replace(edit.from, () => edit.to);
          applied.add(edit);
        }
        return { contents, loader: 'ts' };
      });
    },
  };
}
