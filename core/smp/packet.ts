/**
 * SMP packets (the mcumgr protocol): a header of 8 bytes, big-endian, then a CBOR map. Request and response share group,
 * command and sequence number; a response's operation is the request's plus one.
 */

export const SMP_HEADER_BYTES = 8;

export const SMP_READ = 0;
export const SMP_WRITE = 2;

export const GROUP_OS = 0;
export const OS_ECHO = 0;
export const OS_RESET = 5;
export const OS_PARAMS = 6;

export const GROUP_IMAGE = 1;
export const IMAGE_UPLOAD = 1;

/** First of the groups that SMP leaves to applications. */
export const GROUP_DELTA = 64;
export const DELTA_INFO = 0;
export const DELTA_BEGIN = 1;
export const DELTA_DATA = 2;
export const DELTA_STATUS = 3;
export const DELTA_ACTIVATE = 4;
export const DELTA_CONFIRM = 5;
export const DELTA_ROLLBACK = 6;
export const DELTA_ABORT = 7;
export const DELTA_KEYS = 8;

/** SMP's own error codes (group 0 of `err`), as far as a server needs them. */
export const RC_INVALID = 3;
export const RC_NOT_SUPPORTED = 8;

/** Error codes of the delta group; the reason travels beside them as text. */
export const RC_REFUSED = 2;
export const RC_WRONG_STATE = 3;
export const RC_DEVICE = 4;

export interface SmpHeader {
  op: number;
  /** 0 for SMP version 1, 1 for version 2. */
  version: number;
  group: number;
  sequence: number;
  command: number;
}

/** False when the packet is no SMP request or its length is not what the header says. */
export function readSmpHeader(packet: Uint8Array, into: SmpHeader): boolean {
  if (packet.length < SMP_HEADER_BYTES) return false;
  if (((packet[2]! << 8) | packet[3]!) !== packet.length - SMP_HEADER_BYTES) return false;
  into.op = packet[0]! & 7;
  into.version = (packet[0]! >> 3) & 3;
  into.group = (packet[4]! << 8) | packet[5]!;
  into.sequence = packet[6]!;
  into.command = packet[7]!;
  return (into.op === SMP_READ || into.op === SMP_WRITE) && into.version <= 1;
}

/** Writes the header of a packet with `bodyBytes` bytes of CBOR into the packet's first 8 bytes. */
export function writeSmpHeader(packet: Uint8Array, header: SmpHeader, bodyBytes: number): void {
  packet[0] = (header.version << 3) | header.op;
  packet[1] = 0;
  packet[2] = bodyBytes >> 8;
  packet[3] = bodyBytes;
  packet[4] = header.group >> 8;
  packet[5] = header.group;
  packet[6] = header.sequence;
  packet[7] = header.command;
}
