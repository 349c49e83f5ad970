/** The models of a configuration: what each unit goes by, and what cannot be together. */
import { resolve } from 'node:path';
import type { AgentConfig, ChildConfig, ModelConfig } from './config.js';

type Application = Pick<AgentConfig, 'health' | 'hooks' | 'notify'>;

/** One configuration for each model. An entry's own keys replace the agent's. */
export function modelConfigs(config: AgentConfig): ModelConfig[] {
  const { model, models = [], ...shared } = config;
  if (model !== undefined) return [{ ...shared, model }];
  return models.map(({ name, slots, ...own }) => ({ ...shared, ...definedOf(own), model: { name, slots } }));
}

/** As if the child's model were one of the agent's own: what the agent may download for it, and how it retries. */
export function childConfig(config: AgentConfig, { model, health, hooks }: ChildConfig): ModelConfig {
  const { models: _models, health: _health, family: _family, deviceClass: _class, ...shared } = config;
  // Family and class a device checks itself; whole models are too large for a serial line to be sent without being asked for.
  const own = { ...shared, fullImage: 'never', hooks, model: { name: model.name, slots: '' } } as const;
  return health === undefined ? own : { ...own, health };
}

/** One problem a line, each with its path in the document. */
export function modelProblems(config: AgentConfig): string[] {
  const { model, models, children } = config;
  if ((model === undefined) === (models === undefined)) {
    return ['model: expected either model or models, got both or neither'];
  }
  const own = (models ?? []).flatMap((entry, index) =>
    applicationProblems(`models.${index}.`, {
      health: entry.health ?? config.health,
      hooks: entry.hooks ?? config.hooks,
      notify: entry.notify,
    }),
  );
  const shared = models !== undefined && config.notify?.file !== undefined;
  return [
    ...(shared ? ['notify.file: each of several models needs its own'] : []),
    ...(model === undefined ? own : applicationProblems('', config)),
    ...repeats(models ?? [], 'name', ({ name }) => name),
    ...repeats(models ?? [], 'slots', ({ slots }) => resolve(slots)),
    ...children.flatMap((child, index) => childProblems(`children.${index}.`, child)),
    ...repeats(children, 'name', ({ name }) => name, 'children'),
    ...repeats(children, 'port', ({ port }) => port, 'children'),
    ...thingProblems(config),
  ];
}

/** Of AWS (https://docs.aws.amazon.com/general/latest/gr/iot-core.html): 50 subscriptions a connection, of which jobs take five a thing. */
const MAX_THINGS = 10;

/** AWS knows no children: each is a thing of its own there, beside the gateway's. */
function thingProblems({ protocol, device, children }: AgentConfig): string[] {
  if (protocol === 'aws-iot-jobs' && children.length >= MAX_THINGS) {
    return [`children: expected at most ${MAX_THINGS - 1} with protocol "aws-iot-jobs", got ${children.length}`];
  }
  return children.flatMap(({ thing }, index) => {
    if ((thing !== undefined) !== (protocol === 'aws-iot-jobs')) {
      return [`children.${index}.thing: goes with protocol "aws-iot-jobs", got only one of them`];
    }
    const before = [device, ...children.slice(0, index).flatMap((child) => child.thing ?? [])];
    return thing !== undefined && before.includes(thing)
      ? [`children.${index}.thing: expected one of its own, got ${thing}, which is another's`]
      : [];
  });
}

function childProblems(where: string, child: ChildConfig): string[] {
  const problems = applicationProblems(where, child);
  if (child.health?.file !== undefined) problems.push(`${where}health.file: the model is not on this machine`);
  return problems;
}

function applicationProblems(where: string, { health, hooks, notify }: Application): string[] {
  const problems: string[] = [];
  const questions = [health?.command, health?.url, health?.file].filter((question) => question !== undefined);
  if (health !== undefined && questions.length !== 1) {
    problems.push(`${where}health: expected exactly one of command, url and file, got ${questions.length}`);
  }
  if (hooks.postActivate !== undefined && health === undefined) {
    problems.push(`${where}hooks.postActivate: there is no trial without health`);
  }
  if ((notify?.signal === undefined) !== (notify?.pidFile === undefined)) {
    problems.push(`${where}notify: signal and pidFile go together, got only one of them`);
  }
  if (notify !== undefined && notify.file === undefined && notify.signal === undefined) {
    problems.push(`${where}notify: expected file, or signal and pidFile, got none`);
  }
  return problems;
}

/** Two units that wrote one folder or one topic would undo each other's work. */
function repeats<T>(entries: readonly T[], key: string, pick: (entry: T) => string, list = 'models'): string[] {
  const values = entries.map(pick);
  return values.flatMap((value, index) => {
    const first = values.indexOf(value);
    return first === index
      ? []
      : [`${list}.${index}.${key}: expected another one than ${list}.${first} has, got it too`];
  });
}

function definedOf<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
