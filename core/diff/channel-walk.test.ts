import assert from 'node:assert/strict';
import { test } from 'node:test';
import { channelAt } from './channel-axes.js';
import { ChannelWalk } from './channel-walk.js';

test('a walk is of the channel that divisions give, whatever the places and wherever it begins', () => {
  const walk = new ChannelWalk();
  for (const count of [1, 2, 3, 16, 37])
    for (const inner of [1, 2, 5, 9])
      for (const group of [1, 2, 3, 16, 40])
        for (const outer of [1, 4, 5, 48, 100])
          for (const first of [0, 1, 7, 99, 12345]) {
            walk.begin(count, inner, group, outer, first);
            for (let i = 0; i < 210; i++, walk.next())
              assert.equal(walk.channel, channelAt({ count, inner, group, outer }, first + i));
          }
});
