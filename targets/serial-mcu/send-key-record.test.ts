import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encode } from 'cborg';
import { KEY_RECORD_BYTES, makeKeyRecord } from '../../core/slots/key-record.js';
import { ConsoleReader, ConsoleWriter } from '../../core/smp/console-framing.js';
import { DELTA_BEGIN, DELTA_DATA, GROUP_DELTA } from '../../core/smp/packet.js';
import { MEDIUM } from '../../hil-tests/serial/models.js';
import { copyOf, VirtualLine, type VirtualLineOptions } from '../../hil-tests/serial/virtual-line.js';
import { testKeypair } from '../../hil-tests/support/make-patch.js';
import { NodeSigner } from '../node/hashing.js';
import type { ByteLink } from './byte-link.js';
import { flash } from './flash.js';
import { type KeysResult, sendKeyRecord } from './send-key-record.js';
import { SmpClient } from './smp-client.js';

const ROOT = testKeypair(50);
const OTHER_ROOT = testKeypair(51);
const FACTORY = testKeypair(7);
const NEXT = testKeypair(52);

function recordOf(version: number, { root = ROOT, key = FACTORY, deviceClass = '' } = {}): Uint8Array {
  return makeKeyRecord({ version, deviceClass, keys: [key.publicKey] }, new NodeSigner(root.privateKey));
}

function line(options: Partial<VirtualLineOptions> = {}): VirtualLine {
  const { image, trustedKeys } = MEDIUM;
  return new VirtualLine({ packetBytes: 640, rootKey: ROOT.publicKey, trustedKeys, ...options, image: copyOf(image) });
}

const send = (on: VirtualLine, record: Uint8Array): Promise<KeysResult> => on.run(sendKeyRecord(on.client, record));

/** A device that has none of the groups. */
function knowsNothing(): ByteLink {
  let hear = (_: Uint8Array): void => {};
  const reader = new ConsoleReader(new Uint8Array(640));
  const writer = new ConsoleWriter((bytes) => hear(bytes.slice()));
  const body = encode({ rc: 8 });
  return {
    baud: null,
    write: (bytes) => {
      for (const byte of bytes) {
        const packet = reader.take(byte);
        if (packet === null) continue;
        const [op, , , , high, low, sequence, command] = packet;
        queueMicrotask(() =>
          writer.send(Uint8Array.of(op! + 1, 0, 0, body.length, high!, low!, sequence!, command!, ...body)),
        );
      }
    },
    onBytes: (take) => {
      hear = take;
    },
    onClosed: () => {},
    close: async () => {},
  };
}

describe('a key record on its way to a device', () => {
  test('is in force when it was sent, and a second time changes nothing', async () => {
    const device = line();
    assert.deepEqual(await send(device, recordOf(2)), { version: 2, before: 0, alreadyThere: false });
    assert.deepEqual(await send(device, recordOf(2)), { version: 2, before: 2, alreadyThere: true });
    assert.deepEqual(await send(device, recordOf(3)), { version: 3, before: 2, alreadyThere: false });
  });

  test('decides whose patch the device takes next', async () => {
    const device = line();
    await send(device, recordOf(1, { key: NEXT }));
    const flashed = device.run(flash({ client: device.client, patch: MEDIUM.patch }));
    await assert.rejects(flashed, { code: 'UNKNOWN_SIGNER' });
    await send(device, recordOf(2));
    assert.equal((await device.run(flash({ client: device.client, patch: MEDIUM.patch }))).state, 'trial');
  });

  test('is refused with what the device expects', async () => {
    const device = line();
    await send(device, recordOf(5));
    for (const [record, code, message] of [
      [recordOf(4), 'COUNTER_TOO_LOW', /expected a version above the device's 5, got 4/],
      [recordOf(5, { key: NEXT }), 'COUNTER_TOO_LOW', /other keys of version 5: expected a record of a higher version/],
      [recordOf(6, { root: OTHER_ROOT }), 'BAD_SIGNATURE', /not signed by the root key/],
      [recordOf(6, { deviceClass: 'elsewhere' }), 'WRONG_DEVICE_CLASS', /devices of another class/],
      [new Uint8Array(KEY_RECORD_BYTES), 'BAD_KEY_RECORD', /expected a key record/],
    ] as const) {
      await assert.rejects(send(device, record), (error: Error & { code: string }) => {
        assert.match(error.message, message);
        return error.code === code;
      });
    }
    assert.deepEqual(await send(device, recordOf(5)), { version: 5, before: 5, alreadyThere: true });
  });

  test('is not sent to a device without the group, without keys of its own or without the room', async () => {
    const fixed = new VirtualLine({ packetBytes: 640, trustedKeys: MEDIUM.trustedKeys, image: copyOf(MEDIUM.image) });
    await assert.rejects(sendKeyRecord(new SmpClient(knowsNothing()), recordOf(1)), /it has no delta group/);
    await assert.rejects(send(fixed, recordOf(1)), /takes no key records: its program does not know them/);
    await assert.rejects(send(line({ packetBytes: 257 }), recordOf(1)), /expected 258 bytes, got 257/);
    assert.equal((await send(line({ packetBytes: 258 }), recordOf(1))).version, 1, 'which is all it takes');
  });

  test('comes between an update that broke off and its going on', async () => {
    const device = line();
    const { client } = device;
    const { patch } = MEDIUM;
    const write = { group: GROUP_DELTA, write: true } as const;
    await device.run(client.request({ ...write, command: DELTA_BEGIN, fields: { header: patch.subarray(0, 400) } }));
    await device.run(
      client.request({ ...write, command: DELTA_DATA, fields: { off: 400, data: patch.subarray(400, 800) } }),
    );
    assert.equal((await send(device, recordOf(1))).version, 1);
    assert.equal((await device.run(flash({ client, patch }))).state, 'trial');
  });

  test('gets there over a line that loses each of its answers once, and through a reset before the signature was looked at', async () => {
    for (let lost = 0; lost < 6; lost++) {
      const device = line({ faults: { answer: (index, lines) => (index === lost ? [] : lines) } });
      assert.equal((await send(device, recordOf(9))).version, 9, `answer ${lost}`);
      assert.equal((await send(device, recordOf(9))).alreadyThere, true);
    }
    let pending = 0;
    const device: VirtualLine = line({
      faults: {
        answer: (index, lines) => {
          // Of info, of params, and that the record is pending.
          if (index === 2 && pending++ === 0) queueMicrotask(() => device.resetDevice());
          return lines;
        },
      },
      stepMs: 1,
    });
    assert.deepEqual(await send(device, recordOf(9)), { version: 9, before: 0, alreadyThere: false });
    assert.equal(pending, 1);
  });
});
