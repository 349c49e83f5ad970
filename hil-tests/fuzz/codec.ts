/**
 * The neural decoder, both classes: whatever the payload, it refuses it or makes exactly the bytes it was asked for; it reads only
 * the source, writes only its own memory, and takes no more memory after it was made.
 *
 * An input: a byte that chooses the class, two of target bytes less one, one of the length of priors, priors, payload.
 */

import assert from 'node:assert/strict';
import { CONTEXT_LAYOUTS } from '../../core/codec/context-layout.js';
import { createMixedModels } from '../../core/codec/mixed-models.js';
import { NEURAL_CONTEXT_BYTES, NeuralRunner } from '../../core/codec/neural-runner.js';
import { checkPriors } from '../../core/codec/priors.js';
import { InvalidPatch } from '../../core/errors.js';
import { Prng } from '../../targets/sim/prng.js';
import { seedSegments } from './codec-seeds.js';
import { type FuzzTarget, Hang, type Outcome } from './target.js';

const IO_BYTES = 256;
const SOURCE_BYTES = 3000;
const MOST_TARGET_BYTES = 4096;
const GUARD_BYTES = 64;
const GUARD = 0xa5;
const HEAD_BYTES = 4;
/** Class 1 clears megabytes for each segment: it gets one input in so many. */
const CLASS_SHARE = 8;

export class CodecTarget implements FuzzTarget {
  readonly name = 'codec';
  readonly share = 11;
  private readonly random = new Prng(1);
  private readonly source = Uint8Array.from({ length: SOURCE_BYTES }, (_, i) =>
    i < 1500 ? this.random.byte() : (i * 7) & 0xff,
  );
  private readonly devices = [0, 1].map((decodeClass) => new Device(decodeClass, this.source));

  seeds(): Uint8Array[] {
    const lists = [[], [5], [7, 30, 200, 12, 92, 255]].map((list) => Uint8Array.from(list));
    return [0, 1].flatMap((decodeClass) =>
      // Priors mean nothing to class 1.
      lists.slice(0, decodeClass === 0 ? lists.length : 1).flatMap((priors) =>
        seedSegments(decodeClass, priors, this.source, this.random).map(({ targetBytes, payload }) => {
          const sizes = [(targetBytes - 1) & 0xff, (targetBytes - 1) >> 8, priors.length];
          return Uint8Array.from([decodeClass === 1 ? 0 : 1, ...sizes, ...priors, ...payload]);
        }),
      ),
    );
  }

  run(bytes: Uint8Array, budget: number): Outcome {
    const [choice = 0, low = 0, high = 0, priorsBytes = 0] = bytes;
    const priors = bytes.subarray(HEAD_BYTES, HEAD_BYTES + priorsBytes);
    const payload = bytes.subarray(HEAD_BYTES + priorsBytes);
    const targetBytes = 1 + ((low | (high << 8)) % MOST_TARGET_BYTES);
    const device = this.devices[choice % CLASS_SHARE === 0 ? 1 : 0]!;
    try {
      device.decode(priors, payload, targetBytes, budget);
      return 'taken';
    } catch (error) {
      if (!(error instanceof InvalidPatch)) throw error;
      return 'refused';
    } finally {
      device.assertGuards();
    }
  }
}

/** A decoder in memory with guards around each part, as the applier cuts it. */
class Device {
  private made = 0;
  private readonly contexts: Uint8Array;
  private readonly history: Uint8Array;
  private readonly io: Uint8Array;
  private readonly guards: Uint8Array[] = [];
  private readonly decodeClass: number;
  private readonly source: Uint8Array;

  constructor(decodeClass: number, source: Uint8Array) {
    this.decodeClass = decodeClass;
    this.source = source;
    const sizes = [NEURAL_CONTEXT_BYTES[decodeClass]!, decodeClass === 0 ? 0 : MOST_TARGET_BYTES, IO_BYTES];
    const memory = new Uint8Array(sizes.reduce((sum, size) => sum + size + GUARD_BYTES, 0)).fill(GUARD);
    let used = 0;
    const take = (length: number): Uint8Array => {
      used += length + GUARD_BYTES;
      this.guards.push(memory.subarray(used - GUARD_BYTES, used));
      return memory.subarray(used - GUARD_BYTES - length, used - GUARD_BYTES);
    };
    this.contexts = take(sizes[0]!);
    this.history = take(sizes[1]!);
    this.io = take(sizes[2]!);
    this.plain = this.runnerOf(new Uint8Array(0));
  }

  private readonly plain: NeuralRunner;

  decode(priors: Uint8Array, payload: Uint8Array, targetBytes: number, budget: number): void {
    const isOwn = this.decodeClass === 0 && priors.length > 0;
    if (isOwn) checkPriors(priors, CONTEXT_LAYOUTS[0]!.contexts);
    const runner = isOwn ? this.runnerOf(priors) : this.plain;
    this.made = 0;
    const dictionary = this.decodeClass === 0 ? this.source.subarray(0, 0) : this.source;
    runner.begin({ payload, targetOffset: 0, targetBytes, dictionary, dictionaryOffset: 0 });
    for (let steps = 1, complete = false; !complete; steps++) {
      if (steps > budget) throw new Hang(`${steps} steps`);
      const before = this.made;
      complete = runner.step();
      assert.ok(this.made > before && this.made - before <= IO_BYTES, `a step made ${this.made - before} bytes`);
      assert.ok(this.made <= targetBytes, `${this.made} of ${targetBytes} bytes`);
    }
    assert.equal(this.made, targetBytes);
  }

  assertGuards(): void {
    for (const guard of this.guards)
      for (const byte of guard) if (byte !== GUARD) assert.fail('a guard was written to');
  }

  private runnerOf(priors: Uint8Array): NeuralRunner {
    const { source } = this;
    return new NeuralRunner({
      source: {
        size: source.length,
        read: (offset, into) => {
          const inside = Number.isInteger(offset) && offset >= 0 && offset + into.length <= source.length;
          assert.ok(inside && into.length <= IO_BYTES, `read of ${into.length} bytes at ${offset}`);
          into.set(source.subarray(offset, offset + into.length));
        },
      },
      sink: {
        write: (bytes) => {
          this.made += bytes.length;
        },
      },
      io: this.io,
      contexts: this.contexts,
      history: this.history,
      mixedModels: this.decodeClass === 0 ? null : createMixedModels,
      priors,
    });
  }
}
