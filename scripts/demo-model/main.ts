/**
 * Trains the demo's models and writes v1.tflite, v2.tflite and other.tflite: `npx tsx scripts/demo-model/main.ts FOLDER
 * [SEED]`.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { trainDemoPair } from './index.js';

const [folder, seedText = '1'] = process.argv.slice(2);
const seed = Number(seedText);
if (folder === undefined || !Number.isInteger(seed)) {
  console.error('usage: main.ts FOLDER [SEED]');
  process.exit(2);
}
const pair = trainDemoPair(seed, (line) => console.log(line));
mkdirSync(folder, { recursive: true });
for (const name of ['v1', 'v2', 'other'] as const) {
  const path = join(folder, `${name}.tflite`);
  writeFileSync(path, pair[name]);
  console.log(`${path}: ${pair[name].length} bytes`);
}
