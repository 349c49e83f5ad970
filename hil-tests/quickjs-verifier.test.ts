/** The device's Ed25519 in the device's engine (QuickJS's WebAssembly build): the verdicts of every other adapter. */

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { buildSync } from 'esbuild';
import { getQuickJS } from 'quickjs-emscripten';
import { ed25519Precheck } from '../core/patch/ed25519-precheck.js';
import { neutralBundle } from '../scripts/esbuild-options.js';
import { ED25519_CASES } from './contracts/ed25519-cases.js';
import { repoRoot } from './support/paths.js';

const PROGRAM = `import { SmallVerifier } from './targets/quickjs/board-ports.js';
const verifier = new SmallVerifier();
globalThis.verdict = (key, message, signature) =>
  verifier.verify(new Uint8Array(key), new Uint8Array(message), new Uint8Array(signature));`;

const { outputFiles } = buildSync({
  ...neutralBundle,
  absWorkingDir: repoRoot,
  stdin: { contents: PROGRAM, resolveDir: repoRoot },
  format: 'iife',
  write: false,
});
const vm = (await getQuickJS()).newContext();
vm.unwrapResult(vm.evalCode(outputFiles[0]!.text)).dispose();
after(() => vm.dispose());

function verdict(...input: readonly [publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array]): string {
  const buffers = input.map((bytes) => vm.newArrayBuffer(bytes.slice().buffer));
  const call = vm.getProp(vm.global, 'verdict');
  const answer = vm.unwrapResult(vm.callFunction(call, vm.undefined, ...buffers));
  const said = vm.getString(answer);
  for (const handle of [...buffers, call, answer]) handle.dispose();
  return said;
}

test("inside QuickJS every signature that verifiers disagree on gets the one verdict, behind core's strict check", () => {
  let asked = 0;
  for (const { name, publicKey, message, signature, verdict: expected } of ED25519_CASES) {
    if (ed25519Precheck(publicKey, signature) !== null) {
      assert.equal('invalid', expected, name);
      continue;
    }
    assert.equal(verdict(publicKey, message, signature), expected, name);
    asked++;
  }
  assert.ok(asked >= 10, `${asked} were asked about`);
});
