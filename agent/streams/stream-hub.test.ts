import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StreamHub } from './stream-hub.js';
import { type Block, encodeBlock } from './stream-messages.js';

describe('stream hub', () => {
  it('gives each listener bytes of its own, and only of the stream it listens to, until it stops', () => {
    const hub = new StreamHub({ root: 'p/d/streams', blockBytes: 128, send: () => {} });
    const heard: Block[][] = [[], [], []];
    const listener = (of: number) => ({
      block: (block: Block) => void heard[of]!.push(block),
      rejected: () => {},
      reconnected: () => {},
    });
    const stop = hub.listen('a', listener(0));
    hub.listen('a', listener(1));
    hub.listen('b', listener(2));
    const message = encodeBlock(new Uint8Array(8), 5, Uint8Array.of(1, 2, 3));
    hub.channel.receive('p/d/streams/a/data', message);
    stop();
    hub.channel.receive('p/d/streams/a/data', message);
    hub.channel.receive('p/other/streams/b/data', message);
    assert.deepEqual(
      heard.map(({ length }) => length),
      [1, 2, 0],
    );
    structuredClone(heard[0]![0]!.bytes, { transfer: [heard[0]![0]!.bytes.buffer as ArrayBuffer] });
    assert.deepEqual(heard[1]![0]!.bytes, Uint8Array.of(1, 2, 3));
  });
});
