/** A real MQTT broker in this process, on a port of loopback's own choosing, that remembers what was published. */
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Aedes } from 'aedes';

export interface SeenMessage {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
  /** Null for the broker's own messages and wills. */
  readonly clientId: string | null;
}

interface Waiter {
  readonly topic: string;
  readonly accept: (payload: string) => boolean;
  readonly resolve: (payload: string) => void;
}

export class EmbeddedBroker {
  readonly url: string;
  readonly port: number;
  readonly messages: SeenMessage[] = [];
  /** Topic filters of each request of each client, in order. */
  readonly subscriptions: { readonly clientId: string; readonly filters: readonly string[] }[] = [];
  /** Who may connect. */
  admits: (username: string | undefined, password: string | undefined) => boolean = () => true;
  private readonly broker: Aedes;
  private readonly server: ReturnType<typeof createServer>;
  private readonly sockets: Set<Socket>;
  private readonly latest = new Map<string, string>();
  private readonly waiters = new Set<Waiter>();

  private constructor(broker: Aedes, server: ReturnType<typeof createServer>, sockets: Set<Socket>) {
    this.broker = broker;
    this.server = server;
    this.sockets = sockets;
    this.port = (server.address() as AddressInfo).port;
    this.url = `mqtt://127.0.0.1:${this.port}`;
    broker.authenticate = (_client, username, password, done) =>
      done(null, this.admits(username, password?.toString()));
    broker.on('subscribe', (list, { id: clientId }) => {
      this.subscriptions.push({ clientId, filters: list.map(({ topic }) => topic) });
    });
    broker.on('publish', (packet, client) => {
      if (packet.topic.startsWith('$SYS/')) return;
      this.note(packet.topic, packet.payload.toString(), packet.retain, client?.id ?? null);
    });
  }

  /** `port` 0 lets the system choose; a given one restarts a broker that clients come back to. */
  static async start(port = 0): Promise<EmbeddedBroker> {
    const broker = await Aedes.createBroker();
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      broker.handle(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return new EmbeddedBroker(broker, server, sockets);
  }

  /** Last payload seen on the topic. */
  payloadOf(topic: string): string | undefined {
    return this.latest.get(topic);
  }

  /** Resolves with the first payload, the latest one included, that `accept` takes. Rejects after `timeoutMs`. */
  waitFor(topic: string, accept: (payload: string) => boolean, timeoutMs = 30_000): Promise<string> {
    const latest = this.latest.get(topic);
    if (latest !== undefined && accept(latest)) return Promise.resolve(latest);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiters.delete(waiter);
        reject(new Error(`nothing acceptable on ${topic} in ${timeoutMs} ms; last: ${this.latest.get(topic)}`));
      }, timeoutMs);
      const waiter: Waiter = {
        topic,
        accept,
        resolve: (payload) => {
          clearTimeout(timer);
          resolve(payload);
        },
      };
      this.waiters.add(waiter);
    });
  }

  /** Publishes retained, as a fleet's owner would. */
  publish(topic: string, payload: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const packet = { cmd: 'publish', topic, payload, qos: 1, retain: true, dup: false } as const;
      this.broker.publish(packet, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Cuts every connection without a word; the broker stays up. */
  dropConnections(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.broker.close(resolve));
    this.dropConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private note(topic: string, payload: string, retain: boolean, clientId: string | null): void {
    this.messages.push({ topic, payload, retain, clientId });
    this.latest.set(topic, payload);
    for (const waiter of [...this.waiters]) {
      if (waiter.topic !== topic || !waiter.accept(payload)) continue;
      this.waiters.delete(waiter);
      waiter.resolve(payload);
    }
  }
}
