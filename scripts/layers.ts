/**
 * Checks DESIGN.md's layer rules over esbuild's metafiles. What they cannot see, imports of types alone, is the matter of the
 * project references in the tsconfig files.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Metafile } from 'esbuild';
import { neutralBundle, nodeBundle, root } from './esbuild-options.js';

const FOLDERS = ['core', 'targets', 'agent', 'hil-tests', 'scripts'];
const MCU_ENTRIES = ['targets/quickjs/board.main.ts', 'targets/quickjs/linux.main.ts'];
/** What a microcontroller has no use for and no room for. */
const NOT_ON_A_DEVICE = /^(core\/diff|core\/formats|targets\/node|agent)\//;

type Graph = ReadonlyMap<string, readonly string[]>;

const graph = graphOf(await everything());
const violations = [...graph].flatMap(([file, imports]) => imports.map((imported) => fault(file, imported)));
const problems = [...violations.filter((text) => text !== null), ...cycles(graph), ...(await deviceFaults())];
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else console.log(`${graph.size} files keep the layers`);

/** Every file of ours that is not a test, whether or not something imports it. */
async function everything(): Promise<Metafile> {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map(
      (name) => `${folder}/${name.replaceAll('\\', '/')}`,
    ),
  ).filter((path) => path.endsWith('.ts') && !/\.(test|d)\.ts$/.test(path));
  const { metafile } = await build({
    ...nodeBundle,
    entryPoints: files,
    outdir: '.build/layers',
    outbase: '.',
    write: false,
    packages: 'external',
    metafile: true,
  });
  return metafile;
}

function graphOf({ inputs }: Metafile): Graph {
  const ours = (path: string): boolean => FOLDERS.some((folder) => path.startsWith(`${folder}/`));
  return new Map(
    Object.entries(inputs)
      .filter(([path]) => ours(path))
      // Packages and Node's modules count too: core may have none.
      .map(([path, { imports }]) => [path, imports.map((found) => found.path)]),
  );
}

/** Which rule `file` breaks by importing `imported`; null for none. */
function fault(file: string, imported: string): string | null {
  const says = (rule: string): string => `${file} imports ${imported}: ${rule}`;
  const [layer, platform] = file.split('/');
  const [importedLayer, importedPlatform] = imported.split('/');
  // Tests lie beside what they test, and some of them help others: they may reach anything and nothing may reach them.
  if (isTooling(file)) return null;
  if (isTooling(imported)) return says('5. nothing imports tests or scripts');
  if (layer === 'core' && importedLayer !== 'core') return says('1. core imports only core');
  if (layer === 'targets' && importedLayer === 'agent') return says('2. a target never imports the agent');
  if (layer === 'targets' && importedLayer === 'targets' && importedPlatform !== platform) {
    return says('2. a target never imports another');
  }
  if (layer === 'agent' && importedLayer === 'targets' && !isMain(file))
    return says('3. only main files import targets');
  return null;
}

function isTooling(file: string): boolean {
  return /^(hil-tests|scripts)\//.test(file) || file.endsWith('.test.ts');
}

function isMain(file: string): boolean {
  return file.endsWith('.main.ts') || file.startsWith('agent/compose/') || file === 'agent/cli.ts';
}

async function deviceFaults(): Promise<string[]> {
  const { metafile } = await build({
    ...neutralBundle,
    entryPoints: MCU_ENTRIES,
    outdir: '.build/layers',
    external: ['std', 'os'],
    write: false,
  });
  return Object.keys(metafile!.inputs)
    .filter((path) => NOT_ON_A_DEVICE.test(path))
    .map((path) => `a microcontroller bundle reaches ${path}: 4. it has no encoder, reader or node side`);
}

/** Each cycle once, from its first file in alphabetical order of discovery. */
function cycles(imports: Graph): string[] {
  const found: string[] = [];
  const finished = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const seenAt = path.indexOf(file);
    if (seenAt >= 0) {
      found.push(`${[...path.slice(seenAt), file].join(' -> ')}: 5. no cycles`);
      return;
    }
    if (finished.has(file)) return;
    path.push(file);
    for (const next of imports.get(file) ?? []) visit(next);
    path.pop();
    finished.add(file);
  };
  for (const file of imports.keys()) visit(file);
  return found;
}
