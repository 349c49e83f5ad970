import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { connectGuarded, PacketGuard } from './packet-guard.js';

const CONNACK = Uint8Array.of(0x20, 2, 0, 0);
const PINGRESP = Uint8Array.of(0xd0, 0);
/** A publication of 268,435,455 bytes, the most there can be. */
const HUGE = Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0x7f);

function publication(bodyBytes: number): Uint8Array {
  const length = bodyBytes < 128 ? [bodyBytes] : [(bodyBytes & 0x7f) | 0x80, bodyBytes >> 7];
  return Uint8Array.from([0x30, ...length, ...new Array<number>(bodyBytes).fill(0xff)]);
}

describe('packets of a broker', () => {
  it('are followed whole, a byte at a time and two in a piece', () => {
    const packets = [CONNACK, publication(5), PINGRESP, publication(200), publication(97), HUGE];
    const all = Buffer.concat(packets);
    assert.equal(new PacketGuard(203).excessIn(all), 5 + 268_435_455);
    for (const step of [1, 2, 7]) {
      const guard = new PacketGuard(203);
      const found: number[] = [];
      for (let at = 0; at < all.length; at += step) {
        if (guard.excessIn(all.subarray(at, at + step)) !== null) found.push(at);
      }
      assert.equal(found.length, 1, `in steps of ${step}`);
      assert.ok(found[0]! >= all.length - step);
    }
  });

  it('may be as long as the limit, and no byte longer', () => {
    assert.equal(new PacketGuard(203).excessIn(publication(200)), null);
    assert.equal(new PacketGuard(202).excessIn(publication(200)), 203);
  });

  it('have lengths of four bytes at most', () => {
    assert.equal(
      new PacketGuard(2 ** 40).excessIn(Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0xff)),
      Number.POSITIVE_INFINITY,
    );
  });
});

describe('a connection', () => {
  const ends: (() => void)[] = [];
  afterEach(() => {
    for (const end of ends.splice(0)) end();
  });

  it('ends at a packet that is too long before its bytes are taken, and is made anew, with the same limit', {
    timeout: 10_000,
  }, async () => {
    let connections = 0;
    let sent = 0;
    const serve = (socket: Socket): void => {
      connections++;
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.write(Buffer.concat([CONNACK, HUGE]));
        const more = (): void => {
          if (socket.destroyed) return;
          sent += 65_536;
          socket.write(Buffer.alloc(65_536), more);
        };
        more();
      });
    };
    const server = createServer(serve).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    const client = connectGuarded(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 20 }, 1000);
    ends.push(
      () => server.close(),
      () => client.end(true),
    );
    const errors: string[] = [];
    await new Promise<void>((resolve) => {
      client.on('error', (error) => {
        errors.push(error.message);
        if (errors.length === 2) resolve();
      });
    });
    assert.deepEqual(errors, new Array(2).fill('the broker sent a packet of 268435460 bytes, expected at most 1000'));
    assert.ok(connections >= 2);
    assert.ok(sent < 32 * 1024 * 1024, `${sent} bytes were taken`);
  });
});
