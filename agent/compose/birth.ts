/** What the agent says about itself after each connect. */
import { totalmem } from 'node:os';
import { toHex } from '../../core/hex.js';
import { keyIdOf } from '../../core/patch/signatures.js';
import { NodeHasher } from '../../targets/node/hashing.js';
import type { AgentConfig } from '../config.js';
import { distinctKeys, type KeySource } from '../trust-store.js';
import type { Unit } from '../unit.js';

/** Model formats whose patches this agent applies: all of them, since a patch carries what its format needs. */
const FORMATS = ['TFLite', 'GGUF', 'ONNX', 'SafeTensors', 'ESPDL', 'Binary'];

export function birthDocument(
  config: AgentConfig,
  agentVersion: string,
  trust: KeySource,
  units: readonly Unit[],
): Record<string, unknown> {
  const hasher = new NodeHasher();
  return {
    agentVersion,
    formats: FORMATS,
    ramBytes: totalmem(),
    slots: 2,
    trustedKeys: distinctKeys(trust.keys()).map((key) => toHex(keyIdOf(key, hasher))),
    ...(trust.version === null ? {} : { trustVersion: trust.version }),
    children: units.flatMap(childFacts),
    models: units.flatMap(({ runtime, child }) => {
      const { model, installed_version: version, sha256 } = runtime.reported();
      return sha256 === null || child !== null ? [] : [{ model, version, sha256 }];
    }),
    ...(config.family === undefined ? {} : { family: config.family }),
    ...(config.deviceClass === undefined ? {} : { deviceClass: config.deviceClass }),
  };
}

function childFacts({ name, runtime, child }: Unit): Record<string, unknown>[] {
  if (child === null) return [];
  const { model, installed_version: version, sha256 } = runtime.reported();
  return [{ name, model, version, sha256, port: child.port, online: child.state === 'ready' }];
}
