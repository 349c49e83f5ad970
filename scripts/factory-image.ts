/**
 * Writes the image of an empty flash part for a board under test: `npx tsx scripts/factory-image.ts FILE [BYTES]`, by default 4 MiB. It has
 * no model and trusts the key that the suite signs with: for a bench, never for a product.
 */
import { writeFileSync } from 'node:fs';
import { FLASH_BYTES, makeImage } from '../hil-tests/board/flash-image.js';
import { suiteKey } from '../hil-tests/board/port-cases.js';

const [file, size = String(FLASH_BYTES)] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: factory-image.ts FILE [BYTES]');
writeFileSync(file, makeImage({ keys: [suiteKey.publicKey], model: null, flashBytes: Number(size) }).bytes);
