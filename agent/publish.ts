/**
 * The other end of the agent: makes a patch for every version still in the field, lays them out as a folder that any HTTP
 * server or object store can serve, and writes the `desired` document that names them. Files carry their own SHA-256 as
 * name, so that a name never means two things, caches never lie, and publishing again adds only what is new.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { IoError } from '../core/errors.js';
import { type DesiredDocument, parseDesired } from './desired.js';
import { makeFolder } from './make-folder.js';
import { messageOf } from './message-of.js';
import { STREAM_SCHEME } from './streams/stream-messages.js';

export interface PatchRequest {
  readonly profile: 'gateway' | 'mcu';
  readonly compressionLevel?: number;
  readonly neural?: boolean;
  /** 64 bytes. */
  readonly privateKey?: Uint8Array;
  readonly family?: string;
  readonly deviceClass?: string;
  readonly versionCounter?: number;
  readonly minimumCounter?: number;
  readonly signal?: AbortSignal;
}

/** createPatch of the public API, as far as publishing needs it. `source` null makes a stand-alone patch. */
export type CreatePatch = (
  source: string | null,
  target: string,
  output: string,
  options: PatchRequest,
) => Promise<{ readonly patchSize: number }>;

export interface PublishOptions {
  readonly createPatch: CreatePatch;
  readonly model: string;
  readonly version: string;
  /** Model files of the versions still in the field. Copies of one another and of the target are skipped. */
  readonly olds: readonly string[];
  readonly target: string;
  /** Made if it is not there. */
  readonly outDir: string;
  /** Address under which `outDir` is served; `mqtt:` for `mallorn streams`. */
  readonly baseUrl: string;
  /** Default: gateway alone. */
  readonly profiles?: readonly ('gateway' | 'mcu')[];
  /** Also a stand-alone patch, for devices whose policy takes whole models. Needs `versionCounter` when signed. */
  readonly fullImage?: boolean;
  /** Trust files for the document, oldest first. */
  readonly trust?: readonly string[];
  /** Part of the fleet that takes part, in [0, 1], and over how many seconds its turns are spread. Default: all at once. */
  readonly rollout?: NonNullable<DesiredDocument['rollout']>;
  /** How each patch is made. */
  readonly patch: Omit<PatchRequest, 'profile'>;
  readonly onPatch?: (made: PublishedFile) => void;
}

export interface PublishedFile {
  /** Model file it starts from; null for the full image. */
  readonly source: string | null;
  readonly baseSha256: string | null;
  readonly profile: 'gateway' | 'mcu';
  readonly path: string;
  readonly url: string;
  readonly size: number;
}

export interface PublishResult {
  readonly desired: DesiredDocument;
  readonly desiredPath: string;
  readonly files: readonly PublishedFile[];
  /** Of the whole target: what a plain download would have cost. */
  readonly targetSize: number;
}

const PATCH_SUFFIX = '.mlrn';

/** @throws RangeError for a base URL or version no agent would accept, before any patch is made; IoError; what createPatch throws. */
export async function publish(options: PublishOptions): Promise<PublishResult> {
  requireSound(documentOf(options, '0'.repeat(64), 1, []));
  requireBaseUrl(options.baseUrl);
  await makeFolder(options.outDir);
  const targetSha256 = await sha256OfFile(options.target);
  const files: PublishedFile[] = [];
  const make = async (source: string | null, baseSha256: string | null, profile: 'gateway' | 'mcu'): Promise<void> => {
    const made = await makePatch(options, source, baseSha256, profile);
    files.push(made);
    options.onPatch?.(made);
  };
  for (const [baseSha256, source] of await distinctBases(options.olds, targetSha256)) {
    for (const profile of options.profiles ?? ['gateway']) await make(source, baseSha256, profile);
  }
  if (options.fullImage) await make(null, null, 'gateway');
  const { size: targetSize } = await stat(options.target);
  const desired = requireSound(documentOf(options, targetSha256, targetSize, files));
  // Written last: whoever copies the folder while it grows never serves a document whose patches are missing.
  const desiredPath = join(options.outDir, 'desired.json');
  await orIoError(`cannot write ${desiredPath}`, writeWhole(desiredPath, `${JSON.stringify(desired, null, 2)}\n`));
  return { desired, desiredPath, files, targetSize };
}

function documentOf(
  options: PublishOptions,
  targetSha256: string,
  targetSize: number,
  files: readonly PublishedFile[],
): DesiredDocument {
  const full = files.find((file) => file.baseSha256 === null);
  return {
    model: options.model,
    version: options.version,
    targetSha256,
    targetSize,
    patches: files.flatMap(({ baseSha256, profile, url, size }) =>
      baseSha256 === null ? [] : [{ baseSha256, profile, url, size }],
    ),
    fullImage: full === undefined ? null : { url: full.url, size: full.size },
    ...(options.trust === undefined || options.trust.length === 0 ? {} : { trust: [...options.trust] }),
    ...(options.rollout === undefined ? {} : { rollout: options.rollout }),
  };
}

/** What is published has to pass the check that every agent makes. */
function requireSound(document: DesiredDocument): DesiredDocument {
  const parsed = parseDesired(new TextEncoder().encode(JSON.stringify(document)));
  if (parsed.kind === 'unreadable') throw new RangeError(`agents would not accept this document: ${parsed.message}`);
  return document;
}

function requireBaseUrl(baseUrl: string): void {
  if (baseUrl === STREAM_SCHEME) return;
  if (URL.canParse(baseUrl) && /^https?:$/.test(new URL(baseUrl).protocol)) return;
  throw new RangeError(`expected an http or https base URL, or mqtt:, got ${baseUrl}`);
}

async function distinctBases(olds: readonly string[], targetSha256: string): Promise<Map<string, string>> {
  const bases = new Map<string, string>();
  for (const old of olds) {
    const sha256 = await sha256OfFile(old);
    if (sha256 !== targetSha256 && !bases.has(sha256)) bases.set(sha256, old);
  }
  return bases;
}

async function makePatch(
  options: PublishOptions,
  source: string | null,
  baseSha256: string | null,
  profile: 'gateway' | 'mcu',
): Promise<PublishedFile> {
  // A name no published file has; publishing runs alone in its folder.
  const temporary = join(options.outDir, `.${baseSha256 ?? 'full'}.${profile}.part`);
  try {
    await options.createPatch(source, options.target, temporary, { ...options.patch, profile });
    const name = `${await sha256OfFile(temporary)}${PATCH_SUFFIX}`;
    const path = join(options.outDir, name);
    const { size } = await stat(temporary);
    await rename(temporary, path);
    return { source, baseSha256, profile, path, url: urlOf(options.baseUrl, name), size };
  } finally {
    await rm(temporary, { force: true });
  }
}

function urlOf(baseUrl: string, name: string): string {
  if (baseUrl === STREAM_SCHEME) return `${STREAM_SCHEME}${name}`;
  return new URL(name, baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`).href;
}

async function sha256OfFile(path: string): Promise<string> {
  return orIoError(`cannot read ${path}`, hashFile(path));
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

/** What the file system says, as the error that stands for it (exit code 6 of the command line). */
async function orIoError<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw new IoError(`${what}: ${messageOf(cause)}`, { cause });
  }
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', 0o644);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}
