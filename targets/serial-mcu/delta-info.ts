/** What a device says of itself in the delta group. It comes over a line from a peer that is not known: anything may be missing. */

import { toHex } from '../../core/hex.js';
import { DELTA_INFO, GROUP_DELTA } from '../../core/smp/packet.js';
import type { Answer, SmpClient } from './smp-client.js';

export interface SlotInfo {
  /** 'unknown' where the device does not say. */
  readonly state: string;
  /** Hex; null for a slot without a model. */
  readonly sha256: string | null;
}

export interface DeltaInfo {
  /** One that is written in place, or two. */
  readonly slots: number;
  /** It understands packets without console framing. */
  readonly raw: boolean;
  /** It checks signatures itself. */
  readonly signed: boolean;
  readonly active: SlotInfo;
  readonly other: SlotInfo;
}

const HASH_BYTES = 32;

/** @throws Refused by a device that has no delta group; IoError when the link fails. */
export async function deltaInfo(client: SmpClient): Promise<DeltaInfo> {
  const info = await client.request({ group: GROUP_DELTA, command: DELTA_INFO });
  return {
    slots: info['slots'] === 1 ? 1 : 2,
    raw: info['raw'] === true,
    signed: info['signed'] === true,
    active: slotOf(info['active']),
    other: slotOf(info['other']),
  };
}

function slotOf(value: unknown): SlotInfo {
  const { state, sha } = (typeof value === 'object' && value !== null ? value : {}) as Answer;
  return {
    state: typeof state === 'string' ? state : 'unknown',
    sha256: sha instanceof Uint8Array && sha.length === HASH_BYTES ? toHex(sha) : null,
  };
}
