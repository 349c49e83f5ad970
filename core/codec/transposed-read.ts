/**
 * Reads a matrix by its columns (SPEC.md, "Transposed differences"): a release whose exporter keeps weights the other way round has
 * the old ones, each somewhere else. Gateways only.
 */

import type { ByteSource } from '../ports.js';
import { MAX_PLACE } from './rescale.js';

export interface Transposed {
  /** Elements in a row of the target, and which of them is the op's first. */
  readonly columns: number;
  readonly column: number;
  /** Elements in a row of the source. */
  readonly stride: number;
  /** Bytes of an element. */
  readonly width: number;
}

/** Bytes of one read. */
const READ_BYTES = 256;
const scratch = new Uint8Array(READ_BYTES);

/** Bytes of the source that `length` target bytes reach over, from where the op begins to read; past any source where places are. */
export function transposedSpan({ columns, column, stride, width }: Transposed, length: number): number {
  if (columns > MAX_PLACE || stride > MAX_PLACE) return Number.POSITIVE_INFINITY;
  const last = column + length / width - 1;
  const row = Math.floor(last / columns);
  const inLastRow = row + (last % columns) * stride;
  const inRowBefore = row === 0 ? 0 : row - 1 + (columns - 1) * stride;
  return width * (1 + Math.max(inLastRow, inRowBefore));
}

/**
 * @param offset where in the source the op begins to read
 * @param done target bytes of the op before these
 * @param into whole elements
 */
export function readTransposed(
  source: Pick<ByteSource, 'read'>,
  offset: number,
  { columns, column, stride, width }: Transposed,
  done: number,
  into: Uint8Array,
): void {
  const first = column + done / width;
  const end = first + into.length / width;
  const perRead = READ_BYTES / width;
  // The first element of each column that is among those wanted: the others lie one behind the other in the source.
  for (let start = first; start < Math.min(end, first + columns); start++) {
    const place = start % columns;
    const row = Math.floor(start / columns);
    const rows = Math.ceil((end - start) / columns);
    for (let done = 0; done < rows; done += perRead) {
      const count = Math.min(perRead, rows - done);
      source.read(offset + (place * stride + row + done) * width, scratch.subarray(0, count * width));
      for (let i = 0; i < count; i++) {
        const at = (start + (done + i) * columns - first) * width;
        for (let byte = 0; byte < width; byte++) into[at + byte] = scratch[i * width + byte]!;
      }
    }
  }
}
