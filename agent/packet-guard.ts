/**
 * Bounds what a broker can make this process hold. The library gathers a packet of any length that the protocol can say, 256 MB,
 * before anybody sees it; here the length is read as it comes, and a connection with a longer packet on it ends.
 */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';

/** Of a websocket's message, which holds any number of packets or parts of them. */
const MAX_MESSAGE_BYTES = 1 << 20;
/** A length has up to four bytes of seven bits (MQTT 5, 1.5.5). */
const MAX_LENGTH_BYTES = 4;

/** As mqtt's own `connect`; packets of more than `maxPacketBytes` end the connection, which is then made anew as after any loss. */
export function connectGuarded(url: string, options: IClientOptions, maxPacketBytes: number): MqttClient {
  const wsOptions = { maxPayload: MAX_MESSAGE_BYTES };
  const client = connect(url, { wsOptions, ...options, manualConnect: true });
  const connectOnce = client.connect.bind(client);
  // Each connection has a stream of its own, and this is where the library makes it.
  client.connect = () => {
    connectOnce();
    const { stream } = client;
    const guard = new PacketGuard(maxPacketBytes);
    stream.on('data', (bytes: Uint8Array) => {
      const excess = guard.excessIn(bytes);
      if (excess === null) return;
      const message = `the broker sent a packet of ${excess} bytes, expected at most ${maxPacketBytes}`;
      stream.destroy(Object.assign(new Error(message), { code: 'PACKET_TOO_LARGE' }));
    });
    return client;
  };
  // From here on as the library would do by itself: `end` looks at it too.
  client.options.manualConnect = false;
  return client.connect();
}

/** Follows the packets of one connection by their fixed headers alone (MQTT 5, 2.1). */
export class PacketGuard {
  private readonly maxPacketBytes: number;
  /** Of the packet's body, still to come. */
  private left = 0;
  private state: 'type' | 'length' = 'type';
  private length = 0;
  private lengthBytes = 0;

  constructor(maxPacketBytes: number) {
    this.maxPacketBytes = maxPacketBytes;
  }

  /** The length of a packet that is too long, as soon as its header says so; else null. Infinity: no length that the protocol has. */
  excessIn(bytes: Uint8Array): number | null {
    for (let at = 0; at < bytes.length; ) {
      if (this.left > 0) {
        const skipped = Math.min(this.left, bytes.length - at);
        this.left -= skipped;
        at += skipped;
        continue;
      }
      const byte = bytes[at++]!;
      if (this.state === 'type') {
        this.state = 'length';
        this.length = 0;
        this.lengthBytes = 0;
        continue;
      }
      this.length += (byte & 0x7f) * 2 ** (7 * this.lengthBytes++);
      if (byte >= 0x80) {
        if (this.lengthBytes === MAX_LENGTH_BYTES) return Number.POSITIVE_INFINITY;
        continue;
      }
      const packetBytes = 1 + this.lengthBytes + this.length;
      if (packetBytes > this.maxPacketBytes) return packetBytes;
      this.left = this.length;
      this.state = 'type';
    }
    return null;
  }
}
