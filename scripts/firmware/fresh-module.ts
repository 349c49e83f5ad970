/**
 * An esbuild plugin: `import load from 'fresh:PACKAGE'` gives a function that evaluates the package anew at each call. What it
 * holds (tables, functions) is then garbage once its caller is done with it, where a module stays in RAM for ever.
 */
import { build, type Plugin } from 'esbuild';

const PREFIX = /^fresh:/;

export const freshModules: Plugin = {
  name: 'fresh-modules',
  setup({ onResolve, onLoad, initialOptions }) {
    onResolve({ filter: PREFIX }, ({ path, resolveDir }) => ({
      path: path.replace(PREFIX, ''),
      namespace: 'fresh',
      pluginData: resolveDir,
    }));
    onLoad({ filter: /.*/, namespace: 'fresh' }, async ({ path, pluginData }) => {
      const { plugins: _, entryPoints: __, ...options } = initialOptions;
      const result = await build({
        ...options,
        // Not an export: its getters would need more of the language than the firmware has.
        stdin: { contents: `import { verify } from '${path}'; result = verify;`, resolveDir: String(pluginData) },
        format: 'iife',
      });
      return { contents: `export default function () { let result; ${result.outputFiles![0]!.text} return result; }` };
    });
  },
};
