import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseMetrics } from '../../hil-tests/support/parse-metrics.js';
import { MetricsServer } from './metrics-server.js';
import { type Metric, metricsText } from './metrics-text.js';

const METRICS: readonly Metric[] = [
  {
    name: 'x_total',
    type: 'counter',
    help: 'back\\slash and\nline',
    samples: [{ labels: { a: 'q"u\\o\nte', b: '' }, value: 12 }, { value: 0.5 }],
  },
  {
    name: 's',
    type: 'summary',
    help: 'sum',
    samples: [
      { suffix: '_sum', value: 1e21 },
      { suffix: '_count', value: 3 },
    ],
  },
  { name: 'empty', type: 'gauge', help: 'none', samples: [] },
];

describe('metrics', () => {
  it('the text reads back as what was meant, by the rules of the format', () => {
    const { samples, types } = parseMetrics(metricsText(METRICS));
    assert.deepEqual(samples, [
      { name: 'x_total', labels: { a: 'q"u\\o\nte', b: '' }, value: 12 },
      { name: 'x_total', labels: {}, value: 0.5 },
      { name: 's_sum', labels: {}, value: 1e21 },
      { name: 's_count', labels: {}, value: 3 },
    ]);
    assert.deepEqual(
      [...types],
      [
        ['x_total', 'counter'],
        ['s', 'summary'],
      ],
    );
  });

  it('are served on loopback to GET /metrics and to nothing else', async () => {
    const server = await MetricsServer.open(0, () => METRICS);
    try {
      const url = `http://127.0.0.1:${server.port}`;
      const response = await fetch(`${url}/metrics?x=1`);
      assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
      assert.equal(await response.text(), metricsText(METRICS));
      assert.equal((await fetch(url)).status, 404);
      assert.equal((await fetch(`${url}/metrics`, { method: 'POST' })).status, 405);
    } finally {
      await server.close();
    }
  });
});
