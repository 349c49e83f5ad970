/** What the shipped unit says, seen under a real systemd. In order, on one device; each begins with its first model. */
import assert from 'node:assert/strict';
import { type InstalledUnit, OPEN_FOLDER, SERVICE } from './installed-unit.js';

export interface UnitCase {
  readonly name: string;
  run(unit: InstalledUnit): Promise<void>;
}

const CLI = `mallorn agent status --json --config /etc/mallorn/agent.json`;
const DROP_IN = `/etc/systemd/system/${SERVICE}.service.d/test.conf`;

/** An update that is slow enough to be met when most of it is applied. */
async function beginUpdate(unit: InstalledUnit): Promise<string> {
  unit.server.fault = () => ({ kind: 'slow', blockDelayMs: 80 });
  const wished = await unit.publish();
  await unit.reported(({ progress }) => (progress ?? 0) >= 75);
  return wished;
}

/** Whole now, and fetched from where the journal vouches for it, but for the header. */
async function assertResumes(unit: InstalledUnit, wished: string): Promise<void> {
  unit.server.fault = () => null;
  await unit.reported(({ status, sha256 }) => status === 'up_to_date' && sha256 === wished);
  assert.equal(await unit.activeSha256(), wished);
  const from = Number(/^bytes=(\d+)-/.exec(unit.server.requests.at(-1)?.range ?? '')?.[1]);
  assert.ok(from > 100_000, JSON.stringify(unit.server.requests));
}

async function isActive(unit: InstalledUnit): Promise<void> {
  await unit.machine.until(`systemctl is-active ${SERVICE}`, (state) => state === 'active');
}

export const UNIT_CASES: readonly UnitCase[] = [
  {
    name: 'is enabled and started as documented, and active once the agent has said READY',
    async run(unit) {
      assert.equal(await unit.property('Type'), 'notify');
      assert.equal(await unit.property('ActiveState'), 'active');
      assert.equal(await unit.property('UnitFileState'), 'enabled');
      assert.equal(await unit.property('NRestarts'), '0');
      // The words of the agent, which came over the same socket.
      await unit.machine.until(`systemctl show --value -p StatusText ${SERVICE}`, (text) =>
        /^pose .*no_wish$/.test(text),
      );
    },
  },
  {
    name: 'updates through MQTT and HTTP to the committed new model, inside its limits',
    async run(unit) {
      const wished = await unit.publish();
      await unit.reported(({ status, sha256 }) => status === 'up_to_date' && sha256 === wished);
      assert.equal(await unit.activeSha256(), wished);
      const status = JSON.parse(await unit.machine.must(CLI)).models[0];
      assert.equal(status.installed_version, '2.0');
      assert.equal(status.trial, null, 'its health check was asked and it is committed');
      const [memory, tasks] = [
        Number(await unit.property('MemoryCurrent')),
        Number(await unit.property('TasksCurrent')),
      ];
      // "[not set]" where the control groups of this machine do not count them.
      if (!Number.isNaN(memory)) assert.ok(memory > 0 && memory < 512 * 2 ** 20, `${memory} bytes`);
      if (!Number.isNaN(tasks)) assert.ok(tasks > 0 && tasks < 64, `${tasks} tasks`);
    },
  },
  {
    name: 'may write its own folder and nothing else: no capability, no new privileges, a system that is read-only',
    async run(unit) {
      const wished = await unit.publish();
      await unit.reported(({ status, sha256 }) => status === 'up_to_date' && sha256 === wished);
      await unit.machine.until(`journalctl -u ${SERVICE} -o cat --no-pager`, (text) => /postCommit/.test(text));
      assert.match(await unit.journal(), /touch: cannot touch '\/srv\/anybody\/written': Read-only file system/);
      assert.equal(await unit.machine.must(`ls ${OPEN_FOLDER}`), '');
      await unit.machine.must(`setpriv --reuid mallorn --regid mallorn --clear-groups touch ${OPEN_FOLDER}/written`);
      await unit.machine.must(`rm ${OPEN_FOLDER}/written`);
      const pid = await unit.property('MainPID');
      const facts = await unit.machine.must(`grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp|Uid):' /proc/${pid}/status`);
      for (const fact of [/CapBnd:\s0+$/m, /CapEff:\s0+$/m, /NoNewPrivs:\s1$/m, /Seccomp:\s2$/m])
        assert.match(facts, fact);
      assert.doesNotMatch(facts, /^Uid:\s0/m);
      // Root itself, in the mounts of the service.
      for (const place of ['/etc', '/usr', '/opt', '/root', '/home', '/sys', '/proc/sys/kernel']) {
        const { code } = await unit.machine.run(`nsenter -t ${pid} -m touch ${place}/mallorn-was-here`);
        assert.notEqual(code, 0, place);
      }
    },
  },
  {
    name: 'its control socket answers root and its own user, and nobody else',
    async run(unit) {
      const as = (user: string): string => `setpriv --reuid ${user} --regid ${user} --clear-groups -- ${CLI}`;
      for (const command of [CLI, as('mallorn')])
        assert.equal(JSON.parse(await unit.machine.must(command)).device, 'gw-1');
      // The configuration that comes first is closed to others already.
      await unit.machine.must('install -d -m 755 /tmp/copy && cp /etc/mallorn/* /tmp/copy && chmod 644 /tmp/copy/*');
      const stranger = await unit.machine.run(as('man').replace('/etc/mallorn', '/tmp/copy'));
      assert.equal(JSON.parse(stranger.stdout).error.code, 'IO');
      assert.match(stranger.stdout, /answers its own user and root alone/);
    },
  },
  {
    name: 'systemctl reload takes a new configuration in the same process, and keeps the old one where it is wrong',
    async run(unit) {
      const pid = await unit.property('MainPID');
      await unit.configure({ device: 'gw-2' });
      await unit.systemctl('reload', SERVICE);
      await unit.machine.until(CLI, (text) => text !== '' && JSON.parse(text).device === 'gw-2');
      await unit.configure({ device: '' });
      await unit.systemctl('reload', SERVICE);
      const journal = `journalctl -u ${SERVICE} -o cat --no-pager`;
      await unit.machine.until(journal, (text) => text.includes('the new configuration is not taken'));
      await isActive(unit);
      await unit.configure({});
      await unit.systemctl('reload', SERVICE);
      await unit.machine.until(CLI, (text) => text !== '' && JSON.parse(text).device === 'gw-1');
      await isActive(unit);
      assert.equal(await unit.property('MainPID'), pid);
    },
  },
  {
    name: 'systemctl stop in the middle of an update parks it; the next start goes on',
    async run(unit) {
      const wished = await beginUpdate(unit);
      const startedMs = performance.now();
      await unit.systemctl('stop', SERVICE);
      assert.ok(performance.now() - startedMs < 5000);
      assert.equal(await unit.property('Result'), 'success');
      assert.equal(await unit.property('ExecMainStatus'), '0');
      unit.server.resetCounters();
      await unit.systemctl('start', SERVICE);
      await assertResumes(unit, wished);
    },
  },
  {
    name: 'systemctl stop while the application is told of a model on trial fails no trial',
    async run(unit) {
      const postActivate = [
        '/bin/sh',
        '-c',
        'test -e /var/lib/mallorn/told || { touch /var/lib/mallorn/told; sleep 5; }',
      ];
      await unit.backToFirst({ hooks: { postActivate } });
      const wished = await unit.publish();
      await unit.machine.until('ls /var/lib/mallorn', (names) => names.includes('told'));
      await unit.systemctl('stop', SERVICE);
      assert.equal(await unit.property('Result'), 'success');
      assert.equal(await unit.activeSha256(), wished);
      await unit.systemctl('start', SERVICE);
      await unit.reported(({ status, sha256 }) => status === 'up_to_date' && sha256 === wished);
      assert.ok(!unit.reports.some(({ status }) => status === 'rolling_back'));
    },
  },
  {
    name: 'kill -9 in the middle of an update: systemd starts it again, and it goes on',
    async run(unit) {
      const wished = await beginUpdate(unit);
      unit.server.resetCounters();
      await unit.machine.must(`kill -9 ${await unit.property('MainPID')}`);
      await assertResumes(unit, wished);
      assert.equal(await unit.property('NRestarts'), '1');
    },
  },
  {
    name: 'feeds the watchdog; one whose main thread hangs is ended and started again',
    async run(unit) {
      await unit.machine.must(`mkdir -p $(dirname ${DROP_IN}) && cat > ${DROP_IN}`, '[Service]\nWatchdogSec=3s\n');
      await unit.systemctl('daemon-reload');
      await unit.systemctl('restart', SERVICE);
      const pid = await unit.property('MainPID');
      const fed = `systemctl show --value -p WatchdogTimestampMonotonic ${SERVICE}`;
      const seen = new Set<string>();
      await unit.machine.until(fed, (time) => seen.add(time).size >= 4, 15_000);
      assert.equal(await unit.property('MainPID'), pid);
      await unit.machine.must(`kill -STOP ${pid}`);
      const main = `systemctl show --value -p MainPID ${SERVICE}`;
      await unit.machine.until(main, (now) => now !== pid && now !== '0', 20_000);
      await isActive(unit);
      const said = await unit.machine.must(`journalctl --no-pager -o cat UNIT=${SERVICE}.service + _PID=1`);
      assert.match(said, /[Ww]atchdog timeout/);
      await unit.machine.must(`rm ${DROP_IN}`);
      await unit.systemctl('daemon-reload');
    },
  },
];
