/** Where bench-program.ts finds what it works on, in erase blocks. Block 0: length of the source, length of the patch, u32 each. */
export const BENCH_BLOCK = 4096;
export const BENCH_PLACES = { source: 1, patch: 257, target: 513 } as const;
