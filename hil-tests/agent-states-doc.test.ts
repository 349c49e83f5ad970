/**
 * docs/agent-states.md is drawn from the machine's own table. MALLORN_UPDATE_DOCS=1 draws it anew.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { TRANSITIONS } from '../agent/transitions.js';
import { repoRoot } from './support/paths.js';

const PATH = join(repoRoot, 'docs/agent-states.md');
const INTRODUCTION = `# States of the agent

Drawn from \`agent/transitions.ts\`, the table that the tests hold the machine (\`agent/machine.ts\`) to: a step that is not in it fails them,
and each row has a test that bears its name (agent/transitions.test.ts). The state is on disk before the work of a transition begins. A restart
(\`booted\`) leads from every state to \`choosing\`, where the slots are asked what is true; those arrows are left out of the picture.
`;

it('docs/agent-states.md shows the table of transitions as it is', () => {
  const drawn = page();
  if (process.env['MALLORN_UPDATE_DOCS'] === '1') writeFileSync(PATH, drawn);
  assert.equal(readFileSync(PATH, 'utf8'), drawn);
});

function page(): string {
  return `${INTRODUCTION}\n\`\`\`mermaid\n${diagram()}\n\`\`\`\n\n${table()}\n`;
}

/** One arrow a pair of states, or the picture is a thicket. */
function diagram(): string {
  const arrows = new Map<string, Set<string>>();
  for (const [from, event, to] of TRANSITIONS) {
    if (event === 'booted' && from !== 'starting') continue;
    const arrow = `${from} --> ${to}`;
    arrows.set(arrow, (arrows.get(arrow) ?? new Set()).add(event));
  }
  const lines = [...arrows].map(([arrow, events]) => `  ${arrow}: ${[...events].join(', ')}`);
  return ['stateDiagram-v2', '  [*] --> starting', ...lines].join('\n');
}

function table(): string {
  const rows = TRANSITIONS.map(([from, event, to, when]) => `| ${from} | ${event} | ${to} | ${when} |`);
  return ['| from | event | to | when |', '| --- | --- | --- | --- |', ...rows].join('\n');
}
