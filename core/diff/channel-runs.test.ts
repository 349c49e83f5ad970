import assert from 'node:assert/strict';
import { test } from 'node:test';
import { channelAt } from './channel-axes.js';
import { fillChannels } from './channel-runs.js';

test('channels are those that divisions give, whatever the places and wherever they begin', () => {
  const found = new Uint16Array(2500);
  for (const count of [1, 2, 3, 16, 37])
    for (const inner of [1, 2, 5, 9])
      for (const group of [1, 2, 3, 16, 40])
        for (const outer of [1, 4, 5, 48, 96, 100])
          for (const first of [0, 1, 7, 99, 12345]) {
            const axis = { count, inner, group, outer };
            fillChannels(axis, first, found);
            const wanted = found.map((_, i) => channelAt(axis, first + i));
            assert.ok(
              Buffer.from(found.buffer).equals(Buffer.from(wanted.buffer)),
              `${JSON.stringify(axis)} from ${first}`,
            );
          }
});
