/** Of the modules that `qjs` brings, as much as is used here (QuickJS's manual, "Standard library"). */
declare module 'std' {
  /** null when it cannot be read. */
  export function loadFile(path: string): string | null;
  export function exit(code: number): never;
  export function gc(): void;
  export const err: { puts(text: string): void };
}

declare module 'os' {
  export const O_RDWR: number;
  export const SEEK_SET: number;
  /** A file descriptor, or a negative error number. */
  export function open(path: string, flags: number, mode?: number): number;
  export function seek(fd: number, offset: number, whence: number): number;
  /** How much, 0 at the end, or a negative error number. */
  export function read(fd: number, buffer: ArrayBufferLike, offset: number, length: number): number;
  export function write(fd: number, buffer: ArrayBufferLike, offset: number, length: number): number;
  export function ttySetRaw(fd: number): void;
  export function setReadHandler(fd: number, handler: (() => void) | null): void;
  /** Milliseconds since some moment. */
  export function now(): number;
  /** Waits for it; its exit code, or minus the signal that ended it. */
  export function exec(args: readonly string[], options?: { block?: boolean; usePath?: boolean }): number;
}
