/** The flash parts that the power-cut suite runs on, and how large a model of each is: a list, so that the run can print it. */
import type { Part } from '../../core/apply/flash-rig.test.js';

export interface Geometry {
  readonly id: string;
  readonly part: Part;
  readonly profile: 'mcu' | 'gateway';
  readonly segmentBytes: number;
  readonly frameBytes: number;
  /** Of the patch, the long copy included. At least 8. */
  readonly segments: number;
  readonly journalBlocks: number;
  /** Records of an earlier update that lie in the journal. */
  readonly journalAge: number;
  /** Of its neural patches. Class 1 takes 24 ms a cut on 36 KiB (measured), so that only one has it. */
  readonly decodeClass: 0 | 1;
}

const KIB = 1024;

function mcu(id: string, blockKiB: number, writeAlign: number, eraseValue: 0xff | 0x00, more: Partial<Geometry> = {}) {
  const part = { blockLength: blockKiB * KIB, writeAlign, eraseValue };
  const sizes = {
    segmentBytes: KIB,
    frameBytes: 256,
    segments: 9,
    journalBlocks: 2,
    journalAge: 0,
    decodeClass: 0,
  } as const;
  return { id, part, profile: 'mcu', ...sizes, ...more } as const;
}

function gateway(id: string, blockKiB: number, writeAlign: number, eraseValue: 0xff | 0x00, segmentKiB: number) {
  const part = { blockLength: blockKiB * KIB, writeAlign, eraseValue };
  const sizes = {
    segmentBytes: segmentKiB * KIB,
    frameBytes: 4 * KIB,
    segments: 9,
    journalBlocks: 2,
    journalAge: 0,
    decodeClass: 0,
  } as const;
  return { id, part, profile: 'gateway', ...sizes } as const;
}

export const GEOMETRIES: readonly Geometry[] = [
  mcu('1k-w1-ff', 1, 1, 0xff),
  mcu('1k-w4-00', 1, 4, 0x00),
  mcu('1k-w8-ff', 1, 8, 0xff, { segments: 30, journalBlocks: 3, journalAge: 11 }),
  mcu('1k-w16-00', 1, 16, 0x00, { segments: 20, journalAge: 9 }),
  mcu('1k-w32-ff', 1, 32, 0xff, { segmentBytes: 2 * KIB }),
  mcu('2k-w4-ff', 2, 4, 0xff),
  mcu('2k-w8-00', 2, 8, 0x00, { segmentBytes: 4 * KIB }),
  mcu('4k-w1-ff', 4, 1, 0xff, { segments: 17, journalAge: 105 }),
  mcu('4k-w16-ff', 4, 16, 0xff, { segmentBytes: 4 * KIB }),
  mcu('4k-w32-00', 4, 32, 0x00, { segmentBytes: 2 * KIB, segments: 12 }),
  { ...gateway('8k-w4-ff', 8, 4, 0xff, 4), decodeClass: 1 },
  gateway('16k-w16-00', 16, 16, 0x00, 16),
  gateway('64k-w4-ff', 64, 4, 0xff, 16),
  gateway('128k-w32-ff', 128, 32, 0xff, 32),
];
