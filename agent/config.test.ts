import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError, type ModelConfig, parseConfig, policyId } from './config.js';
import { modelConfigs } from './model-configs.js';

const MINIMAL = {
  device: 'gw-1',
  mqtt: { url: 'mqtt://broker' },
  model: { name: 'pose', slots: 'slots' },
  trustedKeys: ['mallorn.pub'],
};

const parse = (value: unknown) => parseConfig(JSON.stringify(value), '/etc/mallorn/agent.json');

function problems(value: unknown): string {
  try {
    parse(value);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.join('\n');
    throw error;
  }
  return '';
}

describe('config', () => {
  it('fills in defaults and makes paths absolute from the file’s folder', () => {
    const config = parse(MINIMAL);
    assert.equal(config.topicPrefix, 'mallorn/v1');
    assert.equal(config.fullImage, 'never');
    assert.equal(config.allowInsecureHttp, false);
    assert.equal(config.mqtt.protocolVersion, 4);
    assert.equal(config.limits.maxBufferBytes, 64 * 1024 * 1024);
    assert.equal(config.retry.maxAttempts, 12);
    assert.equal(config.model?.slots, '/etc/mallorn/slots');
    assert.deepEqual(config.trustedKeys, ['/etc/mallorn/mallorn.pub']);
  });

  it('refuses unknown keys, wherever they are, all at once', () => {
    assert.equal(
      problems({ ...MINIMAL, fulImage: 'always', mqtt: { url: 'mqtt://b', passwort: 'x' } }),
      'mqtt.passwort: unknown key\nfulImage: unknown key',
    );
  });

  it('says path, expected and got', () => {
    assert.match(problems({ ...MINIMAL, device: 5 }), /^device: expected string, got 5$/);
    assert.match(problems({ ...MINIMAL, trustedKeys: [] }), /^trustedKeys: .*, got \[\]$/);
    assert.match(problems({ ...MINIMAL, retry: { maxAttempts: 0 } }), /^retry\.maxAttempts: .*>=1.*, got 0$/);
    assert.match(
      problems({ ...MINIMAL, fullImage: 'maybe' }),
      /^fullImage: .*"never"\|"ask"\|"unmetered"\|"always".*, got "maybe"$/,
    );
    const { device: _, ...nameless } = MINIMAL;
    assert.match(problems(nameless), /^device: expected string, got nothing$/);
    assert.match(problems([]), /^\(document\): expected object, got \[\]$/);
  });

  it('takes patches over MQTT with blocks within bounds, and not on AWS’s reserved topics', () => {
    const streams = (value: unknown, extra = {}) => ({
      ...MINIMAL,
      mqtt: { url: 'mqtt://b', streams: value },
      ...extra,
    });
    assert.equal(parse(MINIMAL).mqtt.streams, undefined);
    assert.equal(parse(streams({})).mqtt.streams?.blockBytes, 16_384);
    assert.match(problems(streams({ blockBytes: 127 })), /^mqtt\.streams\.blockBytes: .*>=128.*, got 127$/);
    assert.match(problems(streams({ blockBytes: 65_537 })), /<=65536.*, got 65537$/);
    assert.match(problems(streams({}, { protocol: 'aws-iot-jobs' })), /^mqtt\.streams: not with protocol/);
  });

  it('never repeats a password', () => {
    assert.doesNotMatch(problems({ ...MINIMAL, mqtt: { url: 'mqtt://b', password: 12345 } }), /12345/);
  });

  it('refuses device names that would be more than one topic level', () => {
    for (const device of ['a/b', 'a+', '#', 'a\0b', '', '$sys', 'x'.repeat(129)]) {
      assert.match(problems({ ...MINIMAL, device }), /^device: /, device);
    }
    for (const topicPrefix of ['a//b', '/a', 'a/', 'a/+/b', '#']) {
      assert.match(problems({ ...MINIMAL, topicPrefix }), /^topicPrefix: /, topicPrefix);
    }
  });

  it('refuses what does not fit together', () => {
    assert.match(problems({ ...MINIMAL, mqtt: { url: 'mqtts://b', certPath: 'c' } }), /go together/);
    const { trustedKeys: _, ...keyless } = MINIMAL;
    assert.match(problems(keyless), /^trustedKeys: expected either/);
    assert.match(problems({ ...MINIMAL, trust: { root: 'r' } }), /^trustedKeys: expected either/);
    assert.deepEqual(parse({ ...keyless, trust: { root: 'r' } }).trust, { root: '/etc/mallorn/r', clock: 'trusted' });
    assert.match(problems({ ...MINIMAL, mqtt: { url: 'http://b' } }), /^mqtt\.url: expected a URL with mqtt:/);
    assert.match(problems({ ...MINIMAL, retry: { minDelayMs: 10, maxDelayMs: 5 } }), /^retry\.minDelayMs/);
  });

  it('holds nothing back by default', () => {
    const { windows, consent, maxBytesPerSecond, keepPrevious, limits } = parse(MINIMAL);
    assert.deepEqual(windows, { timeZone: 'local' });
    assert.deepEqual(consent, []);
    assert.equal(maxBytesPerSecond, undefined);
    assert.equal(keepPrevious, true);
    assert.equal(limits.minFreeBytes, 0);
  });

  it('reads windows, and says which of them is none', () => {
    const { windows } = parse({ ...MINIMAL, windows: { timeZone: 'utc', apply: ['mon-fri 02:00-04:00'] } });
    assert.equal(windows.apply?.[0]?.startMinute, 120);
    assert.match(
      problems({ ...MINIMAL, windows: { download: ['22:00-05:30', '22-5'] } }),
      /^windows\.download\.1: expected a window like 22:00-05:30 .*, got "22-5"$/,
    );
    assert.match(problems({ ...MINIMAL, windows: { apply: [] } }), /^windows\.apply: /, 'never is no window');
  });

  it('refuses a full image on unmetered connections without a way to know them, and the other way round', () => {
    const unmetered = { command: ['/bin/true'] };
    assert.match(problems({ ...MINIMAL, fullImage: 'unmetered' }), /^unmetered: goes with fullImage/);
    assert.match(problems({ ...MINIMAL, unmetered }), /^unmetered: goes with fullImage/);
    assert.equal(parse({ ...MINIMAL, fullImage: 'unmetered', unmetered }).unmetered?.intervalMs, 60_000);
  });

  it('takes children on ports of their own', () => {
    const child = { name: 'camera', port: '/dev/ttyUSB0', model: { name: 'pose' } };
    const { children } = parse({ ...MINIMAL, children: [child] });
    assert.deepEqual(children, [{ ...child, baud: 115_200, hooks: { timeoutMs: 60_000 } }]);
    const other = { ...child, name: 'other', port: '/dev/ttyUSB1' };
    for (const [changed, problem] of [
      [{ name: 'camera' }, /^children\.1\.name: expected another one than children\.0 has/],
      [{ port: '/dev/ttyUSB0' }, /^children\.1\.port: expected another one than children\.0 has/],
      [{ name: 'a/b' }, /^children\.1\.name: expected 1 to 64/],
      [{ health: { file: 'x' } }, /^children\.1\.health\.file: /],
      [{ slots: 'x' }, /^children\.1\.slots: unknown key/],
    ] as const) {
      assert.match(problems({ ...MINIMAL, children: [child, { ...other, ...changed }] }), problem);
    }
    assert.match(problems({ ...MINIMAL, children: [{ ...child, thing: 'x' }] }), /^children\.0\.thing: goes with/);
  });

  it('with AWS each child is a thing of its own', () => {
    const child = { name: 'camera', port: '/dev/ttyUSB0', model: { name: 'pose' } };
    const aws = (...things: (string | undefined)[]) => ({
      ...MINIMAL,
      protocol: 'aws-iot-jobs',
      children: things.map((thing, at) => ({ ...child, name: `c${at}`, port: `/dev/ttyUSB${at}`, thing })),
    });
    assert.equal(parse(aws('one', 'two')).children[1]?.thing, 'two');
    assert.match(problems(aws('one', undefined)), /^children\.1\.thing: goes with protocol "aws-iot-jobs"/);
    assert.match(problems(aws('one', 'one')), /^children\.1\.thing: expected one of its own, got one/);
    const many = (count: number) => aws(...Array.from({ length: count }, (_, at) => `thing-${at}`));
    assert.equal(parse(many(9)).children.length, 9);
    assert.match(problems(many(10)), /^children: expected at most 9 .*, got 10/);
    assert.match(problems(aws(MINIMAL.device)), /^children\.0\.thing: expected one of its own/);
  });

  it('knows a file that is no JSON', () => {
    assert.throws(() => parseConfig('{', 'x.json'), /^ConfigError: x\.json:\n {2}not JSON/);
  });

  it('names a policy by what can turn a refusal into consent', () => {
    const key = new Uint8Array(32);
    const keys = { trustedKeys: [key], imageKeys: [key] };
    const only = (value: unknown): ModelConfig => modelConfigs(parse(value))[0]!;
    const id = policyId(only(MINIMAL), keys);
    assert.equal(policyId(only({ ...MINIMAL, mqtt: { url: 'mqtt://elsewhere' } }), keys), id);
    assert.notEqual(policyId(only({ ...MINIMAL, fullImage: 'always' }), keys), id);
    for (const other of [
      { trustedKeys: [key, key], imageKeys: [key] },
      { trustedKeys: [key, key], imageKeys: [] },
      { trustedKeys: [], imageKeys: [key, key] },
    ])
      assert.notEqual(policyId(only(MINIMAL), other), id);
  });

  it('takes either one model or several, each as if it were the only one', () => {
    const { model: _, ...modelless } = MINIMAL;
    const eyes = { name: 'eyes', slots: 'eyes', family: 'v8' };
    const ears = { name: 'ears', slots: 'ears', health: { file: 'ears.ok' }, hooks: { postActivate: ['/bin/tell'] } };
    const shared = { ...modelless, family: 'v7', health: { url: 'http://127.0.0.1/' } };
    const configs = modelConfigs(parse({ ...shared, models: [eyes, ears] }));
    assert.deepEqual(
      configs.map(({ model, family, health }) => [model.name, model.slots, family, health?.url, health?.file]),
      [
        ['eyes', '/etc/mallorn/eyes', 'v8', 'http://127.0.0.1/', undefined],
        ['ears', '/etc/mallorn/ears', 'v7', undefined, '/etc/mallorn/ears.ok'],
      ],
    );
    assert.match(problems(modelless), /^model: expected either model or models/);
    assert.match(problems({ ...MINIMAL, models: [eyes] }), /^model: expected either model or models/);
    assert.match(problems({ ...modelless, models: [eyes, { ...ears, name: 'eyes' }] }), /^models\.1\.name: /);
    assert.match(problems({ ...modelless, models: [eyes, { ...ears, slots: './eyes/' }] }), /^models\.1\.slots: /);
    const { health: _health, ...unchecked } = ears;
    assert.match(problems({ ...modelless, models: [eyes, unchecked] }), /^models\.1\.hooks\.postActivate: there is no/);
    for (const name of ['a/b', '..\\', '', 'x'.repeat(65), '$a']) {
      assert.match(problems({ ...modelless, models: [{ ...eyes, name }] }), /^models\.0\.name: expected 1 to 64/, name);
    }
  });
});
