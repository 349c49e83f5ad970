/** Splits a command given as one option into words, as a shell would quote them and nothing else: no variables, no globs. */

import { UsageError } from './failure.js';

const WORD_PART = /"((?:[^"\\]|\\["\\])*)"|'([^']*)'|((?:[^\s"'])+)/y;

/** Quotes group, a backslash counts before `"` and `\` within double quotes alone. @throws UsageError for a quote left open */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let at = 0;
  let joins = false;
  while (at < text.length) {
    if (/\s/.test(text.charAt(at))) {
      joins = false;
      at++;
      continue;
    }
    WORD_PART.lastIndex = at;
    const part = WORD_PART.exec(text);
    if (part === null) throw new UsageError(`expected a closing quote for the one at character ${at + 1}`);
    const value = part[1]?.replace(/\\(["\\])/g, '$1') ?? part[2] ?? part[3] ?? '';
    if (joins) words[words.length - 1] += value;
    else words.push(value);
    joins = true;
    at = WORD_PART.lastIndex;
  }
  return words;
}
