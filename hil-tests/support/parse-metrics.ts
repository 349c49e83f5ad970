/** Reads Prometheus' text format 0.0.4 as strictly as its grammar says, to hold a writer to it. */
import assert from 'node:assert/strict';

export interface ParsedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface ParsedMetrics {
  readonly samples: readonly ParsedSample[];
  readonly types: ReadonlyMap<string, string>;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\\\\n]|\\\\["\\\\n])*)"';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{((?:${LABEL},?)*)\\})? ([^ ]+)$`);

export function parseMetrics(text: string): ParsedMetrics {
  assert.ok(text.endsWith('\n'), 'the last line ends with a line feed');
  const samples: ParsedSample[] = [];
  const types = new Map<string, string>();
  const helps = new Set<string>();
  const seen = new Set<string>();
  let family = '';
  for (const line of text.slice(0, -1).split('\n')) {
    const help = new RegExp(`^# HELP (${NAME}) (?:[^\\\\]|\\\\[\\\\n])*$`).exec(line);
    const type = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram|summary|untyped)$`).exec(line);
    if (help !== null) {
      assert.ok(!helps.has(help[1]!), `one HELP a metric: ${line}`);
      helps.add(help[1]!);
    } else if (type !== null) {
      assert.ok(!types.has(type[1]!), `one TYPE a metric: ${line}`);
      family = type[1]!;
      types.set(family, type[2]!);
    } else {
      const sample = parseSample(line);
      const suffixes = types.get(family) === 'summary' ? ['_sum', '_count', ''] : [''];
      assert.ok(
        suffixes.some((suffix) => sample.name === family + suffix),
        `within its group: ${line}`,
      );
      const identity = JSON.stringify([sample.name, Object.entries(sample.labels).sort()]);
      assert.ok(!seen.has(identity), `said twice: ${line}`);
      seen.add(identity);
      samples.push(sample);
    }
  }
  return { samples, types };
}

function parseSample(line: string): ParsedSample {
  const match = SAMPLE.exec(line);
  assert.ok(match !== null, `a sample: ${line}`);
  const labels = [...(match[2] ?? '').matchAll(new RegExp(LABEL, 'g'))].map(([, name, value]): [string, string] => [
    name!,
    value!.replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char)),
  ]);
  assert.equal(new Set(labels.map(([name]) => name)).size, labels.length, `labels are named once: ${line}`);
  const value = Number(match.at(-1));
  assert.ok(!Number.isNaN(value), `a number: ${line}`);
  return { name: match[1]!, labels: Object.fromEntries(labels), value };
}
