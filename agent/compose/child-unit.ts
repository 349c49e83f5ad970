/** A microcontroller on a serial line: the same machine as for a model of the agent's own, with the slots on the device. */
import type { AgentConfig, ChildConfig } from '../config.js';
import { JsonFile } from '../json-file.js';
import { messageOf } from '../message-of.js';
import { childConfig } from '../model-configs.js';
import type { MqttLink } from '../mqtt-link.js';
import { AgentRuntime } from '../runtime.js';
import { childTopics } from '../topics.js';
import type { Unit } from '../unit.js';
import { ChildPort } from './child-port.js';
import { ChildSession, type Serial } from './child-session.js';
import type { Operations } from './operations.js';
import { applicationOf, machineSettings, type UnitOptions, watchConditions } from './unit-options.js';

export interface ChildUnitOptions extends Omit<UnitOptions, 'config'> {
  readonly config: AgentConfig;
  readonly child: ChildConfig;
  readonly serial: Serial;
  readonly statePath: string;
  readonly link: () => MqttLink | null;
  readonly operations: Pick<Operations, 'observe' | 'downloaded'>;
}

/** Larger frames than these need more memory than such devices have. */
const PROFILES = ['mcu'];

/** Begins to ask the device, and does not wait for its answer. @throws when the state file's medium fails. */
export async function startChildUnit(options: ChildUnitOptions): Promise<Unit> {
  const { config, child, serial, trust, link, log } = options;
  const own = childConfig(config, child);
  const label = `${child.name}/${child.model.name}`;
  const stateFile = new JsonFile(options.statePath);
  // Read here, so that a wish that comes early does not meet a state that is not loaded.
  const saved = await stateFile.load();
  const port = new ChildPort({
    port: child.port,
    onState: () => link()?.publishPresence(unit),
    onBack: () => runtime.lookAgain(),
    log,
  });
  const conditions = watchConditions({ ...options, config: own }, () => runtime.conditionsChanged());
  const runtime: AgentRuntime = new AgentRuntime({
    settings: machineSettings(own, trust, conditions, PROFILES),
    limits: { ...own.retry, pace: options.pace, onBytes: (count) => options.operations.downloaded(label, count) },
    streams: options.streams,
    stateFile: { load: async () => saved, save: (value) => stateFile.save(value) },
    openSession: (onProgress) => {
      session = new ChildSession({
        serial,
        path: child.port,
        baud: child.baud,
        port,
        keys: () => trust.keys(),
        onProgress,
      });
      return session;
    },
    application: applicationOf(own, child.port, null, log),
    onTrust: (chain) => trust.offer(chain),
    onState: (state) => {
      conditions.attend(state);
      options.operations.observe(label, state);
    },
    publish: (reported) => link()?.publishReported(unit, reported),
    log,
  });
  let session: ChildSession | null = null;
  const { state: stateTopic, ...topics } = childTopics(config.topicPrefix, config.device, child.name);
  const unit: Unit = {
    name: child.name,
    label,
    runtime,
    slotsPath: null,
    child: {
      port: child.port,
      get state() {
        return port.state;
      },
    },
    topics,
    presence: { topic: stateTopic, state: () => port.state },
    onDesired: (payload) => runtime.desired(payload),
    stop: async () => {
      conditions.stop();
      port.close();
      // A device that is silent would be waited for.
      await session?.close();
      await runtime.stop();
    },
  };
  runtime.start().catch((error: unknown) => log('error', 'child does not start', { error: messageOf(error) }));
  return unit;
}
