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
import type { Jobs } from './jobs.js';
import type { Operations } from './operations.js';
import { applicationOf, machineSettings, type UnitOptions, watchConditions } from './unit-options.js';

export interface ChildUnitOptions extends Omit<UnitOptions, 'config'> {
  readonly config: AgentConfig;
  readonly child: ChildConfig;
  readonly serial: Serial;
  readonly statePath: string;
  /** Null where its wishes come as retained documents. */
  readonly jobs: Jobs | null;
  readonly link: () => MqttLink | null;
  readonly operations: Pick<Operations, 'observe' | 'downloaded'>;
}

/** Larger frames than these need more memory than such devices have. */
const PROFILES = ['mcu'];
const NO_WISH = new Uint8Array(0);

/** Begins to ask the device, and does not wait for its answer. @throws when the state file's medium fails. */
export async function startChildUnit(options: ChildUnitOptions): Promise<Unit> {
  const { config, child, serial, jobs, trust, link, log } = options;
  const own = childConfig(config, child);
  const label = `${child.name}/${child.model.name}`;
  const stateFile = new JsonFile(options.statePath);
  // Read here, so that a wish that comes early does not meet a state that is not loaded.
  const saved = await stateFile.load();
  const port = new ChildPort({
    port: child.port,
    onState: () => link()?.publishPresence(unit),
    onBack: () => {
      // It may be another device by now: only an order that is open says what this one is to have.
      if (jobs !== null && !jobs.client.hasOpenJob) runtime.desired(NO_WISH);
      runtime.lookAgain();
    },
    log,
  });
  const conditions = watchConditions({ ...options, config: own }, () => runtime.conditionsChanged());
  const runtime: AgentRuntime = new AgentRuntime({
    settings: machineSettings(own, trust, conditions, { profiles: PROFILES, inPlace: () => inPlace }),
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
        lastKnown: () => runtime.state.installed,
        asksHealth: own.health !== undefined,
        onInfo: ({ slots }) => {
          inPlace = slots === 1;
        },
        onProgress,
      });
      return session;
    },
    application: applicationOf(own, child.port, null, log),
    onTrust: (chain) => trust.offer(chain),
    onState: (state) => {
      conditions.attend(state);
      options.operations.observe(label, state);
      jobs?.client.observe(state);
    },
    publish: (reported) => {
      link()?.publishReported(unit, reported);
      jobs?.router.tellProgress(jobs.client, child.name, reported);
    },
    log,
  });
  let session: ChildSession | null = null;
  let inPlace = false;
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
    onDesired: jobs === null ? (payload) => runtime.desired(payload) : null,
    stop: async () => {
      conditions.stop();
      port.close();
      // A device that is silent would be waited for.
      await session?.close();
      await runtime.stop();
      await jobs?.client.stop();
    },
  };
  const forgetWish = jobs !== null && !jobs.client.hasOpenJob && 'always';
  runtime
    .start({ forgetWish })
    .catch((error: unknown) => log('error', 'child does not start', { error: messageOf(error) }));
  return unit;
}
