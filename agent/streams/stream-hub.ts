/** A device's streams on its link: carries requests out, and what comes in to whoever pulls that stream. */
import type { LinkChannel } from '../mqtt-link.js';
import {
  type Block,
  type BlockRequest,
  decodeBlock,
  parseRejection,
  type Rejection,
  STREAM_ID,
} from './stream-messages.js';

export interface StreamListener {
  block(block: Block): void;
  rejected(rejection: Rejection): void;
  /** What was asked for before may never be answered. */
  reconnected(): void;
}

/** Where blocks can be asked for. */
export interface StreamPort {
  /** Bytes a block; at most MAX_STREAM_BLOCK_BYTES. */
  readonly blockBytes: number;
  /** Dropped without a connection. */
  request(id: string, request: BlockRequest): void;
  /** Hears all blocks of this stream until the returned function is called. */
  listen(id: string, listener: StreamListener): () => void;
}

export interface StreamHubOptions {
  readonly root: string;
  readonly blockBytes: number;
  readonly send: (topic: string, document: unknown, qos: 0 | 1) => void;
}

export class StreamHub implements StreamPort {
  readonly blockBytes: number;
  readonly channel: LinkChannel;
  private readonly options: StreamHubOptions;
  private readonly listeners = new Map<string, Set<StreamListener>>();

  constructor(options: StreamHubOptions) {
    this.options = options;
    this.blockBytes = options.blockBytes;
    this.channel = {
      root: options.root,
      filters: [`${options.root}/+/data`, `${options.root}/+/rejected`],
      connected: () => {
        for (const listener of this.all()) listener.reconnected();
      },
      disconnected: () => {},
      receive: (topic, payload) => this.receive(topic, payload),
    };
  }

  request(id: string, request: BlockRequest): void {
    this.options.send(`${this.options.root}/${id}/get`, request, 1);
  }

  listen(id: string, listener: StreamListener): () => void {
    const known = this.listeners.get(id) ?? new Set();
    this.listeners.set(id, known.add(listener));
    return () => {
      known.delete(listener);
      if (known.size === 0) this.listeners.delete(id);
    };
  }

  private receive(topic: string, payload: Uint8Array): void {
    const [id = '', what = ''] = topic.slice(this.options.root.length + 1).split('/');
    const listeners = STREAM_ID.test(id) ? this.listeners.get(id) : undefined;
    if (listeners === undefined) return;
    const rejection = what === 'rejected' ? parseRejection(payload) : undefined;
    for (const listener of [...listeners]) {
      // Each its own copy: a listener may move the bytes to another thread.
      const block = what === 'data' ? decodeBlock(payload) : undefined;
      if (block !== undefined) listener.block(block);
      if (rejection !== undefined) listener.rejected(rejection);
    }
  }

  private all(): StreamListener[] {
    return [...this.listeners.values()].flatMap((known) => [...known]);
  }
}
