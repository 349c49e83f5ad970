/** The shipped unit file: what it says is there, and systemd, where it is on this machine, agrees. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { repoRoot } from '../hil-tests/support/paths.js';

const PATH = join(repoRoot, 'agent/systemd/mallorn-agent.service');
const text = readFileSync(PATH, 'utf8');
const manifest = JSON.parse(readFileSync(join(repoRoot, 'package.json'), 'utf8')) as {
  bin: Record<string, string>;
  files: string[];
};

/** [section, key, value] of each line that is none of blank, comment or section. */
const settings = text.split('\n').reduce<{ section: string; all: [string, string, string][] }>(
  ({ section, all }, line) => {
    const head = /^\[(\w+)\]$/.exec(line)?.[1];
    if (head !== undefined) return { section: head, all };
    if (line === '' || line.startsWith('#')) return { section, all };
    const [, key, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    assert.ok(key !== undefined && value !== undefined, `a setting: ${line}`);
    return { section, all: [...all, [section, key, value]] };
  },
  { section: '', all: [] },
).all;

const valuesOf = (key: string): string[] => settings.filter(([, name]) => name === key).map(([, , value]) => value);
const has = (command: string): boolean => spawnSync(command, ['--version']).status === 0;
const noSystemd = !has('systemd-analyze') && 'no systemd-analyze here';

/** The unit with the command where it lies here: systemd looks whether it can be run. */
function withLocalCommand<T>(work: (path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'mallorn-unit-'));
  const path = join(folder, 'mallorn-agent.service');
  try {
    writeFileSync(
      path,
      text.replace('ExecStart=mallorn ', `ExecStart=${join(repoRoot, manifest.bin['mallorn'] ?? '')} `),
    );
    return work(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the systemd unit', () => {
  it('is shipped and runs a command that the package has, with options it knows', () => {
    assert.ok(manifest.files.includes('agent/systemd'));
    const [program, ...args] = (valuesOf('ExecStart')[0] ?? '').split(' ');
    assert.ok(program !== undefined && program in manifest.bin);
    assert.deepEqual(args, ['agent', 'run', '--config', '/etc/mallorn/agent.json']);
    const help = execFileSync(process.execPath, [join(repoRoot, 'dist/cli.js'), 'agent', 'run', '--help'], {
      encoding: 'utf8',
    });
    assert.match(help, /--config <file>/);
    assert.deepEqual(valuesOf('ExecReload'), ["sh -c 'kill -HUP $$MAINPID'"]);
  });

  it('runs without root, writes its own folder alone, and hears the child that speaks for it', () => {
    assert.deepEqual(valuesOf('User'), ['mallorn']);
    assert.match(readFileSync(join(repoRoot, 'agent/systemd/mallorn.sysusers.conf'), 'utf8'), /^u mallorn - /m);
    assert.deepEqual(valuesOf('StateDirectory'), ['mallorn']);
    assert.deepEqual(valuesOf('ReadWritePaths'), []);
    assert.deepEqual(valuesOf('ProtectSystem'), ['strict']);
    assert.deepEqual(valuesOf('NoNewPrivileges'), ['true']);
    assert.deepEqual(valuesOf('CapabilityBoundingSet'), ['']);
    assert.deepEqual(valuesOf('NotifyAccess'), ['all']);
    assert.deepEqual(valuesOf('MemoryDenyWriteExecute'), [], 'a JavaScript engine could not compile');
  });

  it('systemd finds nothing wrong with it', { skip: noSystemd }, () => {
    withLocalCommand((path) => {
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', path], { encoding: 'utf8' });
      const about = stderr.split('\n').filter((line) => line.includes('mallorn'));
      assert.deepEqual(about, []);
      assert.equal(status, 0, stderr);
    });
  });

  it('systemd calls its exposure low', { skip: noSystemd }, () => {
    withLocalCommand((path) => {
      const args = ['security', '--offline=true', '--threshold=25', '--no-pager', path];
      const { status, stdout } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
      assert.equal(status, 0, stdout.split('\n').slice(-3).join('\n'));
    });
  });
});
