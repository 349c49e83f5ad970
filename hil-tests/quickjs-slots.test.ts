/** The slot store inside QuickJS, the engine of microcontrollers: an update, its trial and the way back, on flash of the host. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build } from 'esbuild';
import { getQuickJS } from 'quickjs-emscripten';
import { neutralBundle, root } from '../scripts/esbuild-options.js';

const HEAP_LIMIT_BYTES = 1 << 20;

const PROGRAM = `
import { FlashSlots } from './core/slots/flash-slots.js';
import { planLayout, regionsOf } from './core/slots/layout.js';
const [blockLength, blocks] = [1024, 20];
const bytes = new Uint8Array(blockLength * blocks).fill(0xff);
const flash = {
  status: () => ({ size: bytes.length, blockLength, blocks, writeAlign: 4, eraseValue: 0xff }),
  read(offset, into) { into.set(bytes.subarray(offset, offset + into.length)); },
  eraseBlock(index) { bytes.fill(0xff, index * blockLength, (index + 1) * blockLength); },
  program(offset, data) {
    for (let i = 0; i < data.length; i++) if (bytes[offset + i] !== 0xff) throw new Error('programmed without an erase');
    bytes.set(data, offset);
  },
  sync() {},
};
const regions = regionsOf(flash, planLayout(flash.status()));
const said = [];
const install = (fill) => {
  const store = FlashSlots.open(regions, { trialBoots: 2 });
  const slot = store.openInactive(1000);
  slot.eraseBlock(0);
  slot.program(0, new Uint8Array(1000).fill(fill));
  store.commit({ size: 1000, sha256: new Uint8Array(32).fill(fill), counter: fill }, fill - 1);
};
FlashSlots.format(regions);
install(1);
install(2);
for (let boot = 0; boot < 4; boot++) {
  const store = FlashSlots.open(regions, { trialBoots: 2 });
  said.push(store.boot() + ' ' + store.active().counter + ' floor ' + store.counterFloor());
}
globalThis.said = said.join(', ');
`;

test('the slot store runs in QuickJS under a heap limit of 1 MiB', async () => {
  const bundle = await build({
    ...neutralBundle,
    stdin: { contents: PROGRAM, resolveDir: root, loader: 'ts' },
    write: false,
  });
  const runtime = (await getQuickJS()).newRuntime();
  runtime.setMemoryLimit(HEAP_LIMIT_BYTES);
  const vm = runtime.newContext();
  try {
    vm.unwrapResult(vm.evalCode(bundle.outputFiles![0]!.text)).dispose();
    const said = vm.getProp(vm.global, 'said').consume((handle) => vm.dump(handle));
    assert.equal(said, 'trial 2 floor 1, trial 2 floor 1, reverted 1 floor 1, good 1 floor 1');
  } finally {
    vm.dispose();
    runtime.dispose();
  }
});
