/** How everything of ours is bundled: shipped files, scripts and tests alike. */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from 'esbuild';

/** Where the checkout lies; everything here runs from any folder. */
export const root = fileURLToPath(new URL('..', import.meta.url));

const zstd = './node_modules/@bokuweb/zstd-wasm/dist/esm';

/** Some CommonJS dependencies call require for Node's own modules; ES modules have none. */
const requireShim =
  "import { createRequire as mallornCreateRequire } from 'node:module'; const require = mallornCreateRequire(import.meta.url);";

/** A bundle that runs with plain node and no node_modules. */
export const nodeBundle: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  format: 'esm',
  // Also decides how the WebAssembly is embedded: a newer target would use Uint8Array.fromBase64, which Node 20 lacks.
  target: 'node20',
  // Every thread that runs a bundle holds its text: a third less of it, and names in stack traces stay.
  minifyWhitespace: true,
  minifySyntax: true,
  logLevel: 'warning',
  metafile: true,
  banner: { js: requireShim },
  // Native code, and optional: looked for when a port is opened.
  external: ['serialport'],
  loader: { '.wasm': 'binary' },
  alias: {
    'zstd-wasm/module': `${zstd}/module.js`,
    'zstd-wasm/binary': `${zstd}/zstd.wasm`,
  },
};

/** A bundle for an engine that has nothing but ECMAScript: an import of a Node module is then a build error. */
export const neutralBundle: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'neutral',
  format: 'esm',
  target: 'es2020',
  // A neutral platform looks at no package.json field by itself.
  mainFields: ['module', 'main'],
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  metafile: true,
};

/** The version that `mallorn --version` and an agent's birth document name. */
export function packageVersion(): string {
  const manifest = createRequire(import.meta.url)('../package.json') as { version: string };
  return manifest.version;
}
