/**
 * The parts of @bokuweb/zstd-wasm that are bundled. Its package.json exports only an entry that reads the WebAssembly file
 * from beside itself, which a bundle cannot; scripts/esbuild-options.ts maps these names to the files.
 */

declare module 'zstd-wasm/module' {
  export const Module: {
    instantiateWasm?: (imports: object, receive: (instance: object) => object) => object;
    init(wasm: Uint8Array): void;
  };
}

declare module 'zstd-wasm/compress' {
  export function createCCtx(): number;
  export function freeCCtx(context: number): void;
  export function compressUsingDict(
    context: number,
    bytes: Uint8Array,
    dictionary: Uint8Array,
    level: number,
  ): Uint8Array;
}

declare module 'zstd-wasm/decompress' {
  export function createDCtx(): number;
  /** Throws when the frame does not decode. */
  export function decompressUsingDict(context: number, frame: Uint8Array, dictionary: Uint8Array): Uint8Array;
}

declare module 'zstd-wasm/binary' {
  const bytes: Uint8Array;
  export default bytes;
}
