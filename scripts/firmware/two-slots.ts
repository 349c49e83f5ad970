/**
 * Leaves out of firmware with two slots what only a device with one slot runs. The applier reaches it through a target that such
 * firmware never makes; the compiler cannot see that.
 */
import type { Plugin } from 'esbuild';

const LEFT_OUT = /core\/apply\/in-place-target\.ts$/;
const STUB = 'export class InPlaceTarget {}\nexport function slotSource() {}\n';

export const twoSlotsOnly: Plugin = {
  name: 'two-slots-only',
  setup(build) {
    build.onLoad({ filter: LEFT_OUT }, () => ({ contents: STUB, loader: 'ts' }));
  },
};
