import assert from 'node:assert/strict';
import { test } from 'node:test';
import { patternBytes } from './contracts/test-bytes.js';
import { encodedPatch } from './support/patch-fixtures.js';

/** SPEC.md, "Size": what a patch may cost at most beside its target. */
function bound({ header, preambleBytes, geometry }: ReturnType<typeof encodedPatch>): number {
  const { targetSize, segmentBytes } = header;
  return (
    targetSize + preambleBytes + 16 * Math.max(0, geometry.count - 1) + 3 * Math.ceil(targetSize / segmentBytes) + 17
  );
}

test('a patch is at most its target, the preamble, 16 bytes a frame and 3 a segment, whatever the bytes are', () => {
  for (const profile of ['mcu', 'gateway'] as const) {
    for (const size of [0, 1, 2, 100, 16384, 16385, 50_000]) {
      for (const source of [null, patternBytes(0), patternBytes(300, 1), patternBytes(40_000, 2)]) {
        // Bytes that no model of ours predicts, behind some that the source has.
        const target = patternBytes(size, 2);
        target.set(patternBytes(size, 3).subarray(size >> 1), size >> 1);
        const patch = encodedPatch({ profile, source, target });
        assert.ok(
          patch.bytes.length <= bound(patch),
          `${profile}, ${size}: ${patch.bytes.length} bytes, bound ${bound(patch)}`,
        );
      }
    }
  }
});
