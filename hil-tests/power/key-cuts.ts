/**
 * Cuts through rotations of the trusted keys: every operation x every kind of cut, a record torn at each of its bytes. Signatures are
 * not what is tested here; trusted-keys.test.ts does that.
 */
import assert from 'node:assert/strict';
import { FlashRegion } from '../../core/flash-region.js';
import type { SignatureVerifier } from '../../core/ports.js';
import { makeKeyRecord } from '../../core/slots/key-record.js';
import { formatTrustedKeys, TrustedKeys } from '../../core/slots/trusted-keys.js';
import { NodeSigner } from '../../targets/node/hashing.js';
import { type CutPlan, PowerCut, SimFlash, type SimOperation } from '../../targets/sim/nor-flash.js';
import { testKeypair } from '../support/make-patch.js';
import type { Geometry } from './geometries.js';
import type { Tally } from './tally.js';

/** Enough for an area to be erased and begun again among them. */
const ROTATIONS = 4;
const root = testKeypair(3);
const signer = new NodeSigner(root.privateKey);
const believing: SignatureVerifier = { verify: () => 'valid' };
const ROTATION = { rootKey: root.publicKey, verifier: believing, deviceClass: 'board' };

/** Of the factory, then one and two in turn. */
function keysOf(version: number): Uint8Array[] {
  const keys = [new Uint8Array(32).fill(version + 1)];
  return version % 2 === 0 ? keys : [...keys, new Uint8Array(32).fill(version + 100)];
}

export function keyCuts(tally: Tally, name: string, { part }: Geometry): void {
  const operations: SimOperation[] = [];
  const flash = new SimFlash({ ...part, size: 2 * part.blockLength }, { onOperation: (each) => operations.push(each) });
  const areas = [0, 1].map((firstBlock) => new FlashRegion(flash, { firstBlock, blocks: 1 })) as [
    FlashRegion,
    FlashRegion,
  ];
  const rotate = (version: number): void =>
    new TrustedKeys(areas, ROTATION).rotate(
      makeKeyRecord({ version, deviceClass: 'board', keys: keysOf(version) }, signer),
    );
  formatTrustedKeys(areas, keysOf(0));
  let version = 0;
  let isWrapped = false;
  const wraps = Math.floor(part.blockLength / Math.ceil(148 / part.writeAlign) / part.writeAlign) - 2;
  while (version < wraps) rotate(++version);
  for (let i = 0; i < ROTATIONS; i++) {
    const start = flash.snapshot();
    operations.length = 0;
    rotate(++version);
    const steps = operations.slice();
    isWrapped ||= steps.some(({ kind }) => kind === 'erase');
    const end = flash.snapshot();
    for (const [operation, step] of steps.entries()) {
      for (const cut of cutsOf(step)) {
        tally.run(`${name}/${version}/${operation}/${cut.kind}-${cut.tornByte ?? ''}`, () => {
          flash.restore(start);
          flash.planCut({ operation, ...cut });
          assert.throws(() => rotate(version), PowerCut);
          assert.ok(flash.fired);
          tally.countFired();
          flash.reboot();
          const found = new TrustedKeys(areas, ROTATION);
          assert.ok(found.version === version || found.version === version - 1, `version ${found.version} after a cut`);
          assert.deepEqual(found.keys, keysOf(found.version), 'the keys of one record, whole');
          for (const area of areas)
            assert.equal(
              new TrustedKeys([area, area], ROTATION).version,
              found.version,
              'both areas hold them after a boot',
            );
          rotate(version);
          const after = new TrustedKeys(areas, ROTATION);
          assert.deepEqual(after.keys, keysOf(version), 'the rotation is finished when it is sent again');
        });
      }
    }
    flash.restore(end);
  }
  tally.run(`${name}/wraps`, () => assert.ok(isWrapped, 'an area was erased among the rotations'));
}

function cutsOf({ kind, length }: SimOperation): Omit<CutPlan, 'operation'>[] {
  const torn =
    kind === 'erase'
      ? [{ kind: 'torn' } as const]
      : Array.from({ length }, (_, tornByte) => ({ kind: 'torn', tornByte }) as const);
  return [{ kind: 'before' }, { kind: 'after' }, ...torn];
}
