/**
 * The state of both slots, as one record holds it. Little-endian:
 *
 *   0   u8   active slot, 0 or 1; 255 for none     4   u64  counter floor
 *   1   u8   boots of the trial so far             12  slot 0, 60 bytes
 *   2   2 B  zero                                  72  slot 1, 60 bytes
 *
 *   slot: 0 u8 state, 1 3 B zero, 4 u64 size, 12 u64 counter, 20 u64 minimum counter, 28 32 B SHA-256
 */
import { readU64, writeU64 } from '../bytes.js';
import { IoError } from '../errors.js';

export const SLOT_STATES = ['empty', 'writing', 'staged', 'trial', 'good', 'bad'] as const;
/**
 * `staged`: whole, not yet allowed to boot. `trial`: active, and reverted from unless it is confirmed. `bad`: was active
 * and was reverted from; never booted again.
 */
export type SlotState = (typeof SLOT_STATES)[number];

export interface SlotEntry {
  state: SlotState;
  size: number;
  counter: number;
  /** What the floor is raised to when the slot becomes active. */
  minimumCounter: number;
  readonly sha256: Uint8Array;
}

export interface SlotTable {
  /** Index of the active slot; -1 for none. */
  active: number;
  trialBoots: number;
  counterFloor: number;
  readonly slots: readonly [SlotEntry, SlotEntry];
}

export const TABLE_MAGIC = 0x31534c4d; // "MLS1"
export const TABLE_BYTES = 132;
/** As many as the record's byte counts. */
export const MAX_TRIAL_BOOTS = 255;

const SLOT_OFFSETS = [12, 72] as const;
const NO_SLOT = 255;

export function emptyTable(): SlotTable {
  return { active: -1, trialBoots: 0, counterFloor: 0, slots: [emptyEntry(), emptyEntry()] };
}

export function encodeTable(table: SlotTable, into: Uint8Array): void {
  into.fill(0);
  into[0] = table.active < 0 ? NO_SLOT : table.active;
  into[1] = table.trialBoots;
  writeU64(into, 4, table.counterFloor);
  for (let index = 0; index < 2; index++) {
    const at = SLOT_OFFSETS[index]!;
    const { state, size, counter, minimumCounter, sha256 } = table.slots[index]!;
    into[at] = SLOT_STATES.indexOf(state);
    writeU64(into, at + 4, size);
    writeU64(into, at + 12, counter);
    writeU64(into, at + 20, minimumCounter);
    into.set(sha256, at + 28);
  }
}

/** Throws IoError on values that this version never writes: the CRC held, so they are another version's, not decay. */
export function decodeTable(from: Uint8Array, table: SlotTable): void {
  const active = from[0]!;
  if (active !== NO_SLOT && active > 1) throw new IoError(`slot records: expected slot 0, 1 or none, got ${active}`);
  table.active = active === NO_SLOT ? -1 : active;
  table.trialBoots = from[1]!;
  table.counterFloor = readU64(from, 4);
  for (let index = 0; index < 2; index++) {
    const at = SLOT_OFFSETS[index]!;
    const entry = table.slots[index]!;
    const state = SLOT_STATES[from[at]!];
    if (state === undefined) throw new IoError(`slot records: expected a slot state, got ${from[at]}`);
    entry.state = state;
    entry.size = readU64(from, at + 4);
    entry.counter = readU64(from, at + 12);
    entry.minimumCounter = readU64(from, at + 20);
    for (let i = 0; i < entry.sha256.length; i++) entry.sha256[i] = from[at + 28 + i]!;
  }
}

function emptyEntry(): SlotEntry {
  return { state: 'empty', size: 0, counter: 0, minimumCounter: 0, sha256: new Uint8Array(32) };
}
