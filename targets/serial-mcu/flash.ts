/**
 * Brings a model to a microcontroller by the best way it has: a patch through the delta group; or the finished model as a file, or
 * as an image. Which one is asked of the device, and told to the caller: a whole model is never sent without one being given.
 */

import { PreambleReader } from '../../core/apply/preamble-reader.js';
import { IoError } from '../../core/errors.js';
import { type PatchHeader, parseHeader } from '../../core/patch/header.js';
import {
  DELTA_ACTIVATE,
  DELTA_CONFIRM,
  DELTA_INFO,
  DELTA_ROLLBACK,
  GROUP_DELTA,
  GROUP_IMAGE,
} from '../../core/smp/packet.js';
import { DeltaUpdate } from './delta-update.js';
import { GROUP_FILE, uploadFile } from './file-upload.js';
import { uploadImage } from './image-upload.js';
import { asMallornError, Refused } from './refused.js';
import type { Answer, Framing, Params, SmpClient } from './smp-client.js';

const GROUP_ENUMERATION = 10;
const ENUMERATION_LIST = 1;
const IMAGE_STATE = 0;
const FILE_HASHES = 3;

export type Method = 'delta' | 'file' | 'image';

export interface FlashOptions {
  readonly client: SmpClient;
  readonly patch: Uint8Array;
  /** The finished model, for devices that know no deltas. */
  readonly model?: Uint8Array;
  /** Where such a device wants it. */
  readonly filePath?: string;
  /** Default: raw where the device has it. */
  readonly framing?: Framing;
  /** Runs the model, on trial. Default true. */
  readonly activate?: boolean;
  /** Ends the trial at once: for who knows by other means that the model works. Default false. */
  readonly confirm?: boolean;
  readonly onProgress?: (progress: { readonly phase: string; readonly done: number; readonly total: number }) => void;
}

export interface FlashResult {
  readonly method: Method;
  /** What runs already is not sent. */
  readonly alreadyThere: boolean;
  /** What was to be sent: the patch, or the model. */
  readonly payloadBytes: number;
  readonly bytesSent: number;
  readonly resumedAt: number;
  /** Of the slot that boots, where the device has slots: 'trial' until its health check passed. */
  readonly state: string | null;
}

/** @throws MallornError: what the device refused the patch for, or IoError. */
export async function flash(options: FlashOptions): Promise<FlashResult> {
  try {
    const methods = await methodsOf(options.client);
    if (methods.includes('delta')) return await flashDelta(options);
    return await flashWhole(options, methods);
  } catch (error) {
    throw error instanceof Refused ? asMallornError(error) : error;
  }
}

/** What the device has, best first. */
export async function methodsOf(client: SmpClient): Promise<Method[]> {
  const listed = await answerOf(client, GROUP_ENUMERATION, ENUMERATION_LIST);
  const groups = listed?.['groups'];
  const has = async (group: number, command: number): Promise<boolean> =>
    Array.isArray(groups) ? groups.includes(group) : (await answerOf(client, group, command)) !== null;
  const methods: Method[] = [];
  if (await has(GROUP_DELTA, DELTA_INFO)) return ['delta'];
  if (await has(GROUP_FILE, FILE_HASHES)) methods.push('file');
  if (await has(GROUP_IMAGE, IMAGE_STATE)) methods.push('image');
  return methods;
}

/** null where the device knows no such command. */
async function answerOf(client: SmpClient, group: number, command: number): Promise<Answer | null> {
  return client.request({ group, command }).catch((error): null => {
    if (error instanceof Refused) return null;
    throw error;
  });
}

async function flashDelta(options: FlashOptions): Promise<FlashResult> {
  const { client, patch, onProgress = () => {}, activate = true, confirm = false } = options;
  const info = await client.request({ group: GROUP_DELTA, command: DELTA_INFO });
  const { targetHash } = headerOf(patch);
  const params = await client.params();
  const done = { method: 'delta', payloadBytes: patch.length, resumedAt: 0 } as const;
  if (holds(info['active'], targetHash)) {
    const state = confirm ? await change(client, DELTA_CONFIRM) : stateOf(info['active']);
    return { ...done, alreadyThere: true, bytesSent: client.bytesSent, state };
  }
  let resumedAt = 0;
  const staged = holds(info['other'], targetHash) && stateOf(info['other']) === 'staged';
  if (!staged) {
    const framing = options.framing ?? (info['raw'] === true ? 'raw' : 'console');
    const update = new DeltaUpdate({
      client,
      patch,
      params,
      framing,
      onProgress: ({ received }) => onProgress({ phase: 'sending', done: received, total: patch.length }),
    });
    ({ resumedAt } = await update.run());
  }
  let state = activate ? await activateStaged(client, targetHash) : 'staged';
  if (activate && confirm) state = await change(client, DELTA_CONFIRM);
  return { ...done, alreadyThere: false, bytesSent: client.bytesSent, resumedAt, state };
}

/** The answer may get lost: then asking again is refused, and what runs tells. The state of what runs then. */
export async function activateStaged(client: SmpClient, targetHash: Uint8Array): Promise<string | null> {
  try {
    return await change(client, DELTA_ACTIVATE);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const info = await client.request({ group: GROUP_DELTA, command: DELTA_INFO });
    if (holds(info['active'], targetHash)) return stateOf(info['active']);
    throw error;
  }
}

export interface DeviceDescription extends Params {
  readonly methods: readonly Method[];
  /** Of the delta group; null where there is none. */
  readonly info: Answer | null;
}

export async function describe(client: SmpClient): Promise<DeviceDescription> {
  const methods = await methodsOf(client);
  const info = methods.includes('delta') ? await client.request({ group: GROUP_DELTA, command: DELTA_INFO }) : null;
  return { methods, ...(await client.params()), info };
}

/** Ends the trial of the running model for better or worse; the state of what runs then. */
export async function endTrial(client: SmpClient, keep: boolean): Promise<string | null> {
  return change(client, keep ? DELTA_CONFIRM : DELTA_ROLLBACK);
}

async function change(client: SmpClient, command: number): Promise<string | null> {
  return stateOf((await client.request({ group: GROUP_DELTA, command, write: true }))['active']);
}

async function flashWhole(options: FlashOptions, methods: readonly Method[]): Promise<FlashResult> {
  const { client, model, filePath, onProgress = () => {} } = options;
  if (methods.length === 0) throw new IoError('the device takes neither patches nor files nor images');
  if (model === undefined) {
    throw new IoError(`the device takes no patches, only a whole model as ${methods.join(' or ')}: none was given`);
  }
  const params = await client.params();
  const upload = {
    client,
    params,
    bytes: model,
    onProgress: (done: number) => onProgress({ phase: 'sending', done, total: model.length }),
  };
  const method = methods.includes('file') && filePath !== undefined ? 'file' : 'image';
  if (!methods.includes(method)) throw new IoError('the device takes files alone: where to was not given');
  if (method === 'file') await uploadFile({ ...upload, path: filePath! });
  else await uploadImage(upload);
  const { bytesSent } = client;
  return { method, alreadyThere: false, payloadBytes: model.length, bytesSent, resumedAt: 0, state: null };
}

function headerOf(patch: Uint8Array): PatchHeader {
  const preamble = new PreambleReader();
  preamble.gather(patch, 0);
  if (preamble.size === null) throw new IoError('the patch is shorter than its header');
  return parseHeader(preamble.header);
}

function holds(slot: unknown, hash: Uint8Array): boolean {
  const sha = (slot as Answer | undefined)?.['sha'];
  return sha instanceof Uint8Array && sha.length === hash.length && sha.every((byte, i) => byte === hash[i]);
}

function stateOf(slot: unknown): string | null {
  const state = (slot as Answer | undefined)?.['state'];
  return typeof state === 'string' ? state : null;
}
