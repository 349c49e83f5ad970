/** state.json of a slot directory: what the two slots hold and which one is active. The file is the truth, `current` follows. */
import * as z from 'zod';
import { IoError } from '../../core/errors.js';
import { fromHex, toHex } from '../../core/hex.js';
import type { SlotContents } from '../../core/ports.js';

export type SlotName = 'a' | 'b';

const slotSchema = z
  .strictObject({
    size: z.int().nonnegative(),
    sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hex digits'),
    counter: z.int().nonnegative(),
  })
  .nullable();

const stateSchema = z
  .strictObject({
    version: z.literal(1),
    active: z.enum(['a', 'b']).nullable(),
    /** null: holds nothing, or is being written. */
    slots: z.strictObject({ a: slotSchema, b: slotSchema }),
    counterFloor: z.int().nonnegative(),
    /** There while the active model has yet to show that it is good; the other slot is the way back until then. */
    trial: z.strictObject({ boots: z.int().nonnegative() }).optional(),
  })
  .refine((state) => state.active === null || state.slots[state.active] !== null, 'the active slot holds no model');

export type SlotState = z.infer<typeof stateSchema>;

export const EMPTY_STATE: SlotState = { version: 1, active: null, slots: { a: null, b: null }, counterFloor: 0 };

/** Throws IoError that says what is wrong where: a state that is silently reset would forget the counter floor. */
export function parseState(text: string, path: string): SlotState {
  const result = stateSchema.safeParse(parseJson(text, path));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new IoError(`${path} is damaged: ${issue?.path.join('.') || 'state'}: ${issue?.message}`);
}

export function formatState(state: SlotState): string {
  return `${JSON.stringify(state, null, 2)}\n`;
}

export function otherSlot(slot: SlotName): SlotName {
  return slot === 'a' ? 'b' : 'a';
}

/** The slot an update is written to; `a` on a device that holds no model yet. */
export function inactiveSlot(state: SlotState): SlotName {
  return state.active === null ? 'a' : otherSlot(state.active);
}

export function contentsOf(state: SlotState, slot: SlotName | null): SlotContents | null {
  const entry = slot === null ? null : state.slots[slot];
  if (entry === null) return null;
  return { size: entry.size, sha256: fromHex(entry.sha256), counter: entry.counter };
}

/** `state` with `slot` holding `contents`. */
export function withSlot(state: SlotState, slot: SlotName, contents: SlotContents | null): SlotState {
  const entry = contents && { size: contents.size, sha256: toHex(contents.sha256), counter: contents.counter };
  return { ...state, slots: { ...state.slots, [slot]: entry } };
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new IoError(`${path} is damaged: not JSON`, { cause: error });
  }
}
