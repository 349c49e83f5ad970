import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AgentService } from './agent-service.js';
import type { ServiceManager } from './operations/service-manager.js';

describe('agent service', () => {
  function rig() {
    const done: string[] = [];
    const bad = new Set<string>();
    let file = 'a';
    const manager: ServiceManager = {
      ready: () => done.push('ready'),
      reloading: () => done.push('reloading'),
      stopping: async () => void done.push('stopping'),
      status: () => {},
      close: () => {},
    };
    const load = async (): Promise<string> => {
      if (file === '') throw new Error('unreadable');
      return file;
    };
    const start = async (config: string, again: boolean) => {
      if (bad.has(config)) throw new Error(`cannot start ${config}`);
      done.push(`start ${config}${again ? ' again' : ''}`);
      return { stop: async () => void done.push(`stop ${config}`) };
    };
    const log = (_level: string, message: string): void => void done.push(message);
    return { done, bad, edit: (text: string) => (file = text), options: { load, start, manager, log } };
  }

  it('a start that fails is told to whoever started it', async () => {
    const { bad, options } = rig();
    bad.add('a');
    await assert.rejects(AgentService.start(options), /cannot start a/);
  });

  it('reloads one after another, and ends after the last of them', async () => {
    const { done, edit, options } = rig();
    const service = await AgentService.start(options);
    edit('b');
    for (let i = 0; i < 5; i++) service.reload();
    await service.stop();
    const one = ['reloading', 'stop b', 'start b again', 'configuration reloaded', 'ready'];
    const first = ['reloading', 'stop a', 'start b again', 'configuration reloaded', 'ready'];
    const expected = ['start a', 'ready', 'stopping', ...first, ...one, 'stop b'];
    assert.deepEqual([...done].sort(), expected.sort(), 'five requests are the one that runs and one after it');
    assert.equal(done.at(-1), 'stop b');
  });

  it('keeps what runs where the new configuration is bad', async () => {
    const { done, edit, options } = rig();
    const service = await AgentService.start(options);
    edit('');
    service.reload();
    await service.stop();
    assert.ok(!done.includes('start a again'));
    assert.equal(done.filter((step) => step === 'stop a').length, 1);
  });

  it('goes back where the new one cannot start, and is lost where the old one cannot either', async () => {
    const { done, bad, edit, options } = rig();
    const service = await AgentService.start(options);
    edit('b');
    bad.add('b');
    service.reload();
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(done.slice(-3), ['cannot start with the new configuration, going back', 'start a again', 'ready']);
    bad.add('a');
    service.reload();
    await assert.rejects(service.lost, /cannot start a/);
    await service.stop();
  });
});
