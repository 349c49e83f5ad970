/** Mutations of a JSON document as a tree: values of other types, edges of numbers, keys gone, doubled or strange. */

import type { Prng } from '../../targets/sim/prng.js';
import { mutated, pick } from './mutate.js';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** One document in so many is mutated as bytes. */
const BYTES_SHARE = 3;
const MOST_EDITS = 4;
const STRANGE: readonly Json[] = [
  null,
  true,
  0,
  -1,
  -0,
  1.5,
  1e308,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 53 - 1,
  '',
  ' ',
  '..',
  '../../../etc/passwd',
  '/dev/zero',
  'file:///etc/passwd',
  'http://127.0.0.1:99999/',
  'https://user:pass@host/',
  'ftp://host/',
  'http://[::1]/',
  'a\u0000b',
  '\ud800',
  'x'.repeat(5000),
  'ab'.repeat(32),
  [],
  {},
  [[[[[[[[]]]]]]]],
];
const KEYS = ['__proto__', 'constructor', 'toString', '', 'url', 'size', 'kind'];

export function mutatedJson(seeds: readonly Uint8Array[], random: Prng): Uint8Array {
  if (random.below(BYTES_SHARE) === 0) return mutated(seeds, random);
  let document = JSON.parse(new TextDecoder().decode(pick(seeds, random))) as Json;
  for (let edits = 1 + random.below(MOST_EDITS); edits > 0; edits--) document = edited(document, random);
  return new TextEncoder().encode(JSON.stringify(document));
}

function edited(value: Json, random: Prng): Json {
  if (value !== null && typeof value === 'object' && random.below(4) > 0) {
    const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, Json>;
    const keys = Object.keys(copy);
    if (keys.length > 0) {
      const key = pick(keys, random);
      copy[key] = edited(copy[key]!, random);
      return copy as Json;
    }
  }
  if (value !== null && typeof value === 'object') return reshaped(value, random);
  return typeof value === 'number' && random.below(2) === 0 ? value + random.below(3) - 1 : pick(STRANGE, random);
}

function reshaped(value: Json[] | { [key: string]: Json }, random: Prng): Json {
  if (random.below(4) === 0) return pick(STRANGE, random);
  if (Array.isArray(value)) {
    const at = random.below(value.length + 1);
    if (random.below(2) === 0) return value.filter((_, i) => i !== at);
    const added = value[at] ?? pick(STRANGE, random);
    return Array.from({ length: 1 + random.below(300) }, () => added);
  }
  const entries = Object.entries(value);
  if (random.below(2) === 0) entries.splice(random.below(entries.length + 1), 1);
  else entries.push([random.below(2) === 0 ? pick(KEYS, random) : `k${random.byte()}`, pick(STRANGE, random)]);
  // Not an assignment: that of __proto__ would make no key.
  return Object.fromEntries(entries);
}
