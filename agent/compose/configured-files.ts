/** The configuration file and the files it names. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IoError } from '../../core/errors.js';
import { NodeSignatureVerifier } from '../../targets/node/hashing.js';
import { readPublicKey as readPublicKeyForm } from '../../targets/node/key-files.js';
import { type AgentConfig, ConfigError, parseConfig } from '../config.js';
import type { Log } from '../log.js';
import { messageOf } from '../message-of.js';
import { fixedKeys, type KeySource, TrustStore } from '../trust-store.js';

export type TlsFiles = Partial<Record<'ca' | 'cert' | 'key', Uint8Array>>;

/** @throws ConfigError, IoError when the file cannot be read. */
export async function loadConfig(path: string): Promise<AgentConfig> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new IoError(`cannot read the configuration: ${messageOf(cause)}`, { cause });
  }
  return parseConfig(text, path);
}

/** That the files a configuration names can be read and are what they should be. @throws ConfigError, TrustError */
export async function checkFiles(config: AgentConfig): Promise<void> {
  const { trust, trustedKeys = [] } = config;
  await readTlsFiles(config);
  await Promise.all(trustedKeys.map(readPublicKey));
  if (trust !== undefined) await readConfigured('trust.root', trust.root);
}

/** @throws ConfigError, TrustError for a pinned file that is not sound, IoError for a damaged store */
export async function openTrust(config: AgentConfig, log: Log): Promise<KeySource> {
  const { trust, trustedKeys = [], stateFolder } = config;
  if (trust === undefined) return fixedKeys(await Promise.all(trustedKeys.map(readPublicKey)));
  return TrustStore.open({
    pinned: await readConfigured('trust.root', trust.root),
    path: join(stateFolder, 'trust.json'),
    verifier: new NodeSignatureVerifier(),
    now: () => (trust.clock === 'none' ? null : `${new Date().toISOString().slice(0, 19)}Z`),
    log,
  });
}

/** @throws ConfigError */
export async function readTlsFiles(config: AgentConfig): Promise<TlsFiles> {
  const { caPath, certPath, keyPath } = config.mqtt;
  const files: TlsFiles = {};
  if (caPath !== undefined) files.ca = await readConfigured('mqtt.caPath', caPath);
  if (certPath !== undefined) files.cert = await readConfigured('mqtt.certPath', certPath);
  if (keyPath !== undefined) files.key = await readConfigured('mqtt.keyPath', keyPath);
  return files;
}

async function readPublicKey(path: string): Promise<Uint8Array> {
  const bytes = await readConfigured('trustedKeys', path);
  try {
    return readPublicKeyForm(bytes);
  } catch (error) {
    throw new ConfigError('trustedKeys', [`${path}: ${messageOf(error)}`]);
  }
}

async function readConfigured(what: string, path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    throw new ConfigError(what, [`${path}: ${messageOf(error)}`]);
  }
}
