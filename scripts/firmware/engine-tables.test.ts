/**
 * The firmware's engine has only the built-in objects of the tables in builtins.c: one that is missing shows on a board, as `TypeError: not a
 * function`. Here it shows in npm test.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Node, parse } from 'acorn';
import { build, transform } from 'esbuild';
import { deviceDefines } from '../device-flags.js';
import { neutralBundle, root } from '../esbuild-options.js';
import { stripMessages } from './strip-messages.js';

/** Methods of any built-in object that a program could mean by a name. */
const BUILT_IN = new Set(
  [
    ...[Array, Uint8Array, String, Number, Object, Function, RegExp, Map, Set, Promise, Date, ArrayBuffer, DataView],
    ...[Object.getPrototypeOf(Uint8Array), BigInt, Symbol, Error],
  ].flatMap((each: { prototype: object }) => Object.getOwnPropertyNames(each.prototype)),
);
/** Own and inherited, and what the engine adds by itself to functions, errors and iterators. */
const ALWAYS_THERE = ['constructor', 'length', 'name', 'message', 'next', 'stack'];
const STATICS = { Math: 'math', Number: 'number', Object: 'object', Array: 'array', String: 'string' } as const;
const TYPED = ['Uint8', 'Int16', 'Uint16', 'Int32', 'Uint32', 'Float32', 'Float64'].map((type) => `${type}Array`);
/** Objects that are created one by one in builtins.c, and values of the language itself. */
const GLOBALS = [
  ...Object.keys(STATICS),
  ...TYPED,
  'ArrayBuffer',
  'Error',
  'globalThis',
  'undefined',
  'NaN',
  'Infinity',
];

/** Thrown over a root key that is no hex: the build's mistake, and a ReferenceError ends the program as well. */
const NEVER_REACHED = ['RangeError'];
/** Built-in objects have methods of these names too, and the program means its own. */
const OURS = ['at', 'find', 'keys', 'shift', 'size', 'source'];

interface Uses {
  readonly members: Set<string>;
  readonly statics: Set<string>;
  readonly globals: Set<string>;
}

test('what the device program uses of built-in objects is in the tables of the firmware engine', async () => {
  const engine = readFileSync(join(root, 'targets/firmware/freeze/builtins.c'), 'utf8');
  const { members, statics, globals } = usesOf(await deviceProgram());
  // The search finds what is known to be there.
  assert.ok(members.has('subarray') && statics.has('Math.floor') && globals.has('Uint8Array'));
  const everywhere = new Set([...ALWAYS_THERE, ...namesIn(engine)]);
  assert.deepEqual(
    [...members].filter((name) => !everywhere.has(name)),
    [],
    'methods',
  );
  const missing = [...statics].filter((use) => {
    const [object, name] = use.split('.') as [string, string];
    const table =
      object in STATICS ? STATICS[object as keyof typeof STATICS] : TYPED.includes(object) ? 'typed_array' : null;
    return table !== null && !namesIn(tableOf(engine, `${table}_functions`)).includes(name);
  });
  assert.deepEqual(missing, [], 'functions of built-in objects');
  for (const name of GLOBALS.slice(0, 5)) assert.match(engine, new RegExp(`"${name}"`), name);
  assert.deepEqual(
    [...globals].filter((name) => ![...GLOBALS, ...NEVER_REACHED].includes(name)),
    [],
    'built-in objects',
  );
});

/** As scripts/build-firmware.ts bundles it, for every feature that firmware is built with. */
async function deviceProgram(): Promise<string> {
  const result = await build({
    ...neutralBundle,
    entryPoints: ['targets/quickjs/board.main.ts'],
    target: 'es2022',
    minify: false,
    minifySyntax: true,
    write: false,
    define: deviceDefines({
      signed: true,
      zstd: false,
      nativeHash: true,
      maxBufferBytes: 1,
      rootKey: '00',
      scratchBlocks: 'host',
    }),
    tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
  });
  // What only messages use goes with them.
  const { code } = await transform(stripMessages(result.outputFiles[0]!.text), { treeShaking: true, format: 'iife' });
  return code;
}

function usesOf(code: string): Uses {
  const uses: Uses = { members: new Set(), statics: new Set(), globals: new Set() };
  const own = new Set<string>();
  const declared = new Set<string>();
  const members = new Set<string>();
  const identifiers = new Set<string>();
  visit(parse(code, { ecmaVersion: 2022, sourceType: 'module' }) as unknown as Tree, (node) => {
    if (node.type === 'MemberExpression' && !node['computed']) {
      const { object, property } = node as unknown as Record<'object' | 'property', Tree & { name: string }>;
      if (object.type === 'Identifier' && (object.name in STATICS || TYPED.includes(object.name)))
        uses.statics.add(`${object.name}.${property.name}`);
      else members.add(property.name);
    } else if (node.type === 'MethodDefinition' || node.type === 'Property')
      own.add((node['key'] as { name: string }).name);
    else if (node.type === 'NewExpression' || node.type === 'CallExpression') {
      const callee = node['callee'] as Tree & { name: string };
      if (callee.type === 'Identifier') identifiers.add(callee.name);
    }
    const { id, params } = node as unknown as { id?: { name?: string }; params?: { name?: string }[] };
    for (const each of [id, ...(params ?? [])]) if (each?.name !== undefined) declared.add(each.name);
  });
  for (const name of members) if (BUILT_IN.has(name) && !OURS.includes(name)) uses.members.add(name);
  for (const name of identifiers) if (!declared.has(name) && !own.has(name)) uses.globals.add(name);
  return uses;
}

type Tree = Node & Record<string, unknown>;

function visit(node: Tree, see: (node: Tree) => void): void {
  see(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child === 'object' && child !== null && typeof (child as Tree).type === 'string')
        visit(child as Tree, see);
    }
  }
}

function namesIn(text: string): string[] {
  return [...text.matchAll(/JS_(?:C(?:FUNC|GETSET)|PROP|ALIAS)\w*\("([^"]+)"/g)].map(([, name]) => name!);
}

function tableOf(engine: string, name: string): string {
  const start = engine.indexOf(`${name}[]`);
  assert.ok(start >= 0, `builtins.c has a table ${name}`);
  return engine.slice(start, engine.indexOf('};', start));
}
