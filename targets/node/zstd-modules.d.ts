/**
 * The parts of @bokuweb/zstd-wasm that are bundled. Its package.json exports only an entry that reads the WebAssembly file
 * from beside itself, which a bundle cannot; scripts/esbuild-options.ts maps these names to the files.
 */

declare module 'zstd-wasm/module' {
  export const Module: {
    instantiateWasm?: (imports: object, receive: (instance: object) => object) => object;
    init(wasm: Uint8Array): void;
    /** Another array once the memory has grown. */
    readonly HEAPU8: Uint8Array;
    _malloc(bytes: number): number;
    _free(pointer: number): void;
    _ZSTD_createCCtx(): number;
    _ZSTD_freeCCtx(context: number): number;
    _ZSTD_compressBound(bytes: number): number;
    /** Bytes written to `output`, or an error. */
    _ZSTD_compress_usingDict(
      context: number,
      output: number,
      capacity: number,
      source: number,
      sourceBytes: number,
      dictionary: number,
      dictionaryBytes: number,
      level: number,
    ): number;
    _ZSTD_createDCtx(): number;
    /** As `_ZSTD_compress_usingDict`; the capacity is not exceeded. */
    _ZSTD_decompress_usingDict(
      context: number,
      output: number,
      capacity: number,
      source: number,
      sourceBytes: number,
      dictionary: number,
      dictionaryBytes: number,
    ): number;
    _ZSTD_isError(result: number): number;
  };
}

declare module 'zstd-wasm/binary' {
  const bytes: Uint8Array;
  export default bytes;
}
