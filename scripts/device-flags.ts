/** Build flags of the device program (targets/quickjs/board.main.ts), as esbuild's `define`. */

export interface DeviceFlags {
  /** False leaves trust to a gateway, and the verifier out. */
  readonly signed: boolean;
  readonly zstd: boolean;
  /** False where the host may have no SHA-256: the program then brings its own. */
  readonly nativeHash: boolean;
  /** Most bytes the decoder of an update may hold; `host` leaves it, and the two below, to the host. */
  readonly maxBufferBytes: number | 'host';
  /** 64 hex digits; '' for a device whose keys never change. */
  readonly rootKey: string;
  /** Erase blocks of the scratch area of a device with one slot; 0 for two slots. */
  readonly scratchBlocks: number | 'host';
}

/** Of firmware for one slot: two units of 16 KiB in blocks of 4, so that they wear in turn. */
export const ONE_SLOT_SCRATCH_BLOCKS = 8;

/** dist/mallorn.qjs.js: everything, and the rest is the host's to say. */
export const EVERYTHING: DeviceFlags = {
  signed: true,
  zstd: true,
  nativeHash: false,
  maxBufferBytes: 'host',
  rootKey: 'host',
  scratchBlocks: 'host',
};

export function deviceDefines(flags: DeviceFlags): Record<string, string> {
  const literal = (value: number | string, property: string): string =>
    value === 'host' ? `host.${property}` : JSON.stringify(value);
  return {
    MALLORN_SIGNED: String(flags.signed),
    MALLORN_ZSTD: String(flags.zstd),
    MALLORN_NATIVE_HASH: String(flags.nativeHash),
    MALLORN_MAX_BUFFER_BYTES: literal(flags.maxBufferBytes, 'maxBufferBytes'),
    MALLORN_ROOT_KEY: literal(flags.rootKey, 'rootKey'),
    MALLORN_SCRATCH_BLOCKS: literal(flags.scratchBlocks, 'scratchBlocks'),
  };
}
