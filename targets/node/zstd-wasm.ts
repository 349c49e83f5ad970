/** Loads the pinned zstd (WebAssembly) once a thread, in place: compiling its 250 KB takes a few milliseconds. */

import wasm from 'zstd-wasm/binary';
import { Module } from 'zstd-wasm/module';

/** The part of the API that loading takes; TypeScript has it only with the DOM's types. */
interface WebAssemblyApi {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => object;
}

const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyApi };
let loaded = false;

export function loadZstd(): void {
  if (loaded) return;
  // The package's own loader is asynchronous; this hook of Emscripten's is not.
  Module.instantiateWasm = (imports, receive) =>
    receive(new WebAssembly.Instance(new WebAssembly.Module(wasm), imports));
  Module.init(wasm);
  loaded = true;
}
