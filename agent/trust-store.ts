/**
 * Which keys this gateway trusts now (docs/trust.md). It starts from the pinned file and goes on with those that a `desired`
 * document brings, each of which must follow the one before. The whole chain is kept and verified again at each start, so that
 * what lies on disk is believed no more than what comes from the network.
 */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { IoError, MallornError } from '../core/errors.js';
import { toHex } from '../core/hex.js';
import type { SignatureVerifier } from '../core/ports.js';
import { acceptTrust, readPinnedTrust, usableKeys } from '../core/trust/accept-trust.js';
import type { Moment, Trust } from '../core/trust/trust-file.js';
import { trustTextSchema } from './desired.js';
import { JsonFile } from './json-file.js';
import { MAX_KEPT_TRUST } from './limits.js';
import type { Log } from './log.js';
import { messageOf } from './message-of.js';

const storedSchema = z.strictObject({ format: z.literal(1), chain: z.array(trustTextSchema).max(MAX_KEPT_TRUST) });

/** 32 bytes each. */
export interface TrustedKeys {
  /** For patches from a base. */
  readonly trustedKeys: readonly Uint8Array[];
  /** For stand-alone patches. */
  readonly imageKeys: readonly Uint8Array[];
}

/** Something to ask for keys at the moment they are needed. */
export interface KeySource {
  keys(): TrustedKeys;
  /** Trust files, oldest first, as a document brought them. */
  offer(chain: readonly string[]): void;
  /** Resolves once what was taken is on disk, or cannot be put there. */
  settled(): Promise<void>;
  /** Null where keys are a plain list. */
  readonly version: number | null;
}

export interface TrustStoreOptions {
  readonly pinned: Uint8Array;
  readonly path: string;
  readonly verifier: SignatureVerifier;
  /** Null where nobody can vouch for the clock. */
  readonly now: () => Moment | null;
  readonly log: Log;
}

/** A list that only the configuration changes. */
export function fixedKeys(keys: readonly Uint8Array[]): KeySource {
  return {
    keys: () => ({ trustedKeys: keys, imageKeys: keys }),
    offer: () => {},
    settled: async () => {},
    version: null,
  };
}

export class TrustStore implements KeySource {
  private readonly options: TrustStoreOptions;
  private readonly file: JsonFile;
  private readonly chain: string[] = [];
  private trust: Trust;
  private saving: Promise<void> = Promise.resolve();

  private constructor(options: TrustStoreOptions) {
    this.options = options;
    this.file = new JsonFile(options.path);
    this.trust = readPinnedTrust(options.pinned, options.verifier);
  }

  /**
   * @throws TrustError for a pinned file that is not sound; IoError for a stored chain that is damaged. To go on from the pinned
   * file instead could bring back keys that were revoked, so that is for people to decide.
   */
  static async open(options: TrustStoreOptions): Promise<TrustStore> {
    const store = new TrustStore(options);
    const stored = await readStored(options.path);
    for (const text of stored) {
      // A pinned file that is newer than some of the chain was put there on purpose.
      const refused = store.take(text);
      if (refused !== null && refused.code !== 'TRUST_ROLLED_BACK') throw damaged(options.path, refused);
    }
    return store;
  }

  get version(): number {
    return this.trust.version;
  }

  keys(): TrustedKeys {
    const now = this.options.now();
    return { trustedKeys: usableKeys(this.trust, 'patch', now), imageKeys: usableKeys(this.trust, 'image', now) };
  }

  /** Takes those that follow, verified one by one; only then are they stored. */
  offer(chain: readonly string[]): void {
    const before = this.chain.length;
    for (const text of chain) {
      if (this.isKnown(text)) continue;
      if (this.chain.length === MAX_KEPT_TRUST) {
        this.options.log('error', 'no more trust files: a newer one must be pinned', { kept: MAX_KEPT_TRUST });
        break;
      }
      const refused = this.take(text);
      if (refused !== null)
        this.options.log('warn', 'trust file refused', { code: refused.code, error: refused.message });
    }
    if (this.chain.length === before) return;
    this.options.log('info', 'trust file taken', { version: this.version });
    this.saving = this.saving.then(() => this.save());
  }

  async settled(): Promise<void> {
    await this.saving;
  }

  /** Null where it was taken. */
  private take(text: string): MallornError | null {
    const { verifier } = this.options;
    try {
      this.trust = acceptTrust(this.trust, new TextEncoder().encode(text), verifier);
    } catch (error) {
      if (error instanceof MallornError) return error;
      throw error;
    }
    this.chain.push(text);
    return null;
  }

  private isKnown(text: string): boolean {
    return this.chain.includes(text) || new TextDecoder().decode(this.options.pinned) === text;
  }

  /** A medium that takes nothing must not keep a revocation from counting: the retained document brings it again. */
  private async save(): Promise<void> {
    try {
      await this.file.save({ format: 1, chain: this.chain });
    } catch (error) {
      this.options.log('error', 'cannot save trust', { error: messageOf(error) });
    }
  }
}

/** Key ids as in a signature block, for the birth document. */
export function distinctKeys({ trustedKeys, imageKeys }: TrustedKeys): readonly Uint8Array[] {
  const seen = new Map([...trustedKeys, ...imageKeys].map((key) => [toHex(key), key]));
  return [...seen.values()];
}

async function readStored(path: string): Promise<readonly string[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new IoError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
  try {
    return storedSchema.parse(JSON.parse(text)).chain;
  } catch (cause) {
    throw damaged(path, cause);
  }
}

function damaged(path: string, cause: unknown): IoError {
  const advice = 'whoever removes it trusts what the pinned file says';
  return new IoError(`the trust files in ${path} are damaged (${messageOf(cause)}); ${advice}`, { cause });
}
