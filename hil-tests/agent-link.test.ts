/** What the agent says on the broker, over connects, cuts, restarts and its end. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { AgentRig, playAgentRole, TOPICS, TRUSTED } from './support/agent-rig.js';
import { EmbeddedBroker } from './support/embedded-broker.js';
import { noise, sha256Hex } from './support/make-patch.js';

const OLD = noise(100_000, 1);
const NEW = noise(100_000, 2);

const isState = (state: string) => (payload: string) => JSON.parse(payload).state === state;

if (!playAgentRole()) {
  describe('agent link', { timeout: 60_000 }, () => {
    let rig: AgentRig;
    afterEach(() => rig.stop());

    async function startRig(config: Record<string, unknown> = {}): Promise<void> {
      rig = await AgentRig.start({ installed: OLD, config });
    }

    const session = (topic: string): number => JSON.parse(rig.broker.payloadOf(topic) ?? '{}').session;

    it('says init, birth, reported, ready, in this order and retained', async () => {
      await startRig();
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, isState('ready'));
      const said = rig.broker.messages.filter((message) => message.clientId === 'mallorn-gw-1');
      assert.deepEqual(
        said.map((message) => message.topic),
        [TOPICS.state, TOPICS.birth, TOPICS.reported, TOPICS.state],
      );
      assert.ok(said.every((message) => message.retain));
      const birth = JSON.parse(rig.broker.payloadOf(TOPICS.birth) ?? '');
      assert.deepEqual(birth.models, [{ model: 'pose', version: null, sha256: sha256Hex(OLD) }]);
      assert.deepEqual(birth.trustedKeys, [sha256Hex(TRUSTED.publicKey).slice(0, 16)]);
      assert.equal(birth.session, session(TOPICS.state));
    });

    it('leaves a will with the session of its birth, and comes back with a later one', async () => {
      await startRig();
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, isState('ready'));
      const first = session(TOPICS.birth);
      rig.broker.dropConnections();
      await rig.broker.waitFor(TOPICS.state, isState('lost'));
      assert.equal(session(TOPICS.state), first);
      await rig.broker.waitFor(TOPICS.state, isState('ready'));
      assert.ok(session(TOPICS.state) > first);
      assert.equal(session(TOPICS.birth), session(TOPICS.state));
    });

    it('counts sessions on over a restart', async () => {
      await startRig();
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, isState('ready'));
      const first = session(TOPICS.birth);
      await rig.stopAgent();
      assert.ok(isState('disconnected')(rig.broker.payloadOf(TOPICS.state) ?? '{}'));
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, isState('ready'));
      assert.ok(session(TOPICS.birth) > first);
    });

    it('answers cmd/rebirth, but not a flood of them', async () => {
      await startRig();
      await rig.startAgent();
      await rig.broker.waitFor(TOPICS.state, isState('ready'));
      const births = () => rig.broker.messages.filter((message) => message.topic === TOPICS.birth).length;
      for (let i = 0; i < 5; i++) await rig.broker.publish(TOPICS.rebirth, '');
      await delay(100);
      assert.equal(births(), 2);
    });

    it('works while the broker is away, and says it all to the next one', async () => {
      await startRig();
      rig.server.fault = () => ({ kind: 'slow', blockDelayMs: 50 });
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([OLD], NEW));
      await rig.reported('downloading');
      const { port } = rig.broker;
      await rig.broker.stop();
      for (let waited = 0; rig.activeSha256() !== sha256Hex(NEW) && waited < 500; waited++) await delay(20);
      assert.equal(rig.activeSha256(), sha256Hex(NEW));
      const next = await EmbeddedBroker.start(port);
      try {
        await next.waitFor(TOPICS.reported, (payload) => JSON.parse(payload).status === 'up_to_date');
        await next.waitFor(TOPICS.state, isState('ready'));
        // The library repeats what the old broker never acknowledged; our own word has to come after it.
        assert.equal(JSON.parse(next.payloadOf(TOPICS.reported) ?? '{}').sha256, sha256Hex(NEW));
      } finally {
        await rig.stopAgent();
        await next.stop();
      }
    });

    it('takes a wish that was withdrawn in its absence for withdrawn', async () => {
      await startRig({ fullImage: 'never' });
      await rig.startAgent();
      await rig.wish(await rig.publishFiles([NEW], OLD.slice(1)));
      await rig.reported('refused');
      await rig.stopAgent();
      await rig.wish(null);
      await rig.startAgent();
      await rig.reported('no_wish');
    });

    it('keeps knocking at a broker that refuses it', async () => {
      await startRig();
      // This broker speaks MQTT 3.1.1 alone and refuses the newer protocol as it would refuse a password.
      rig.configure({ mqtt: { url: rig.broker.url, protocolVersion: 5, reconnectMinMs: 5, reconnectMaxMs: 10 } });
      await rig.startAgent();
      const refusals = () => rig.log.filter((line) => line.includes('Unacceptable protocol version')).length;
      for (let waited = 0; refusals() < 3 && waited < 100; waited++) await delay(20);
      assert.ok(refusals() >= 3);
    });
  });
}
