/** `mallorn trust`: makes, changes, signs and shows trust files (docs/trust.md). */

import { type Command, InvalidArgumentError, Option } from 'commander';
import { toHex } from '../../core/hex.js';
import { MAX_TRUST_BYTES } from '../../core/limits.js';
import { acceptTrust, signedRoots } from '../../core/trust/accept-trust.js';
import {
  checkTrust,
  compareKeys,
  encodeTrust,
  includesKey,
  joinTrust,
  type Moment,
  momentOf,
  parseTrust,
  ROLES,
  type Role,
  type SplitTrust,
  splitTrust,
  type Trust,
} from '../../core/trust/trust-file.js';
import { EXIT_OK, EXIT_SIGNATURE, UsageError } from './failure.js';
import { addSigningFlags, readPublicKeyFile, requireSigningKey, type SigningFlags } from './key-options.js';
import { table } from './output.js';
import { readSmallFile } from './read-file.js';
import { type AddCommand, integer, type Session } from './session.js';
import { addTrustKeyRecord } from './trust-key-record.js';

type Open = (command: Command) => Session;

export const addTrust: AddCommand = (program, open) => {
  const trust = program.command('trust').description('who may sign: files that root keys sign and devices follow');
  for (const add of [addInit, addAdd, addRevoke, addRotate, addSignTrust, addShow, addTrustKeyRecord]) add(trust, open);
};

interface InitFlags {
  readonly output: string;
  readonly root: readonly string[];
  readonly threshold: number;
  readonly expires: Moment | null;
}

function addInit(trust: Command, open: Open): void {
  trust
    .command('init')
    .description('begin a trust file, version 1: not signed yet and without signing keys')
    .requiredOption('-o, --output <file>', 'trust file to write')
    .requiredOption('--root <file...>', "root keys' public halves")
    .option('--threshold <n>', 'how many roots must sign', integer, 1)
    .option('--expires <moment>', 'when all of it ends for devices with a clock', moment, null)
    .action(async ({ output, root, threshold, expires }: InitFlags, self: Command) => {
      const session = open(self);
      const roots = sortedKeys(await readKeys(session, root));
      writeDraft(session, output, { version: 1, expires, threshold, roots, keys: [], revoked: [] });
    });
}

interface AddFlags {
  readonly output?: string;
  readonly key: string;
  readonly role: readonly Role[];
  readonly expires: Moment | null;
}

function addAdd(trust: Command, open: Open): void {
  change(trust, 'add', 'let a key sign, or change what it may sign')
    .requiredOption('--key <file>', "the key's public half")
    .addOption(
      new Option('--role <role...>', 'patch: patches from a base; image: stand-alone patches')
        .choices(ROLES)
        .makeOptionMandatory(),
    )
    .option('--expires <moment>', 'when the key ends for devices with a clock', moment, null)
    .action(async (file: string, { output, key, role, expires }: AddFlags, self: Command) => {
      const session = open(self);
      const publicKey = await readPublicKeyFile(session, key);
      const added = { publicKey, roles: ROLES.filter((one) => role.includes(one)), expires };
      await edit(session, file, output, (draft) => {
        const others = draft.keys.filter((one) => !includesKey([publicKey], one.publicKey));
        const keys = [...others, added].sort((a, b) => compareKeys(a.publicKey, b.publicKey));
        return { ...draft, keys };
      });
    });
}

function addRevoke(trust: Command, open: Open): void {
  change(trust, 'revoke', 'take a key back for ever, whatever it was: no later version can bring it back')
    .requiredOption('--key <file...>', "the keys' public halves")
    .action(async (file: string, { output, key }: { output?: string; key: readonly string[] }, self: Command) => {
      const session = open(self);
      const revoked = await readKeys(session, key);
      await edit(session, file, output, (draft) => ({
        ...draft,
        roots: draft.roots.filter((root) => !includesKey(revoked, root)),
        keys: draft.keys.filter(({ publicKey }) => !includesKey(revoked, publicKey)),
        revoked: sortedKeys([...draft.revoked.filter((one) => !includesKey(revoked, one)), ...revoked]),
      }));
    });
}

interface RotateFlags {
  readonly output?: string;
  readonly addRoot?: readonly string[];
  readonly removeRoot?: readonly string[];
  readonly threshold?: number;
  readonly expires?: Moment | null;
}

function addRotate(trust: Command, open: Open): void {
  change(trust, 'rotate', 'change roots, threshold or expiry; without options the same again, one version later')
    .option('--add-root <file...>', 'public keys')
    .option('--remove-root <file...>', 'public keys')
    .option('--threshold <n>', 'how many roots must sign', integer)
    .option('--expires <moment>', 'when all of it ends for devices with a clock', moment)
    .action(async (file: string, flags: RotateFlags, self: Command) => {
      const session = open(self);
      const added = await readKeys(session, flags.addRoot ?? []);
      const removed = await readKeys(session, flags.removeRoot ?? []);
      await edit(session, file, flags.output, (draft) => {
        for (const key of removed) {
          if (!includesKey(draft.roots, key)) throw new UsageError(`--remove-root: ${toHex(key)} is no root`);
        }
        const { threshold = draft.threshold, expires = draft.expires } = flags;
        const kept = draft.roots.filter((root) => !includesKey([...removed, ...added], root));
        return { ...draft, threshold, expires, roots: sortedKeys([...kept, ...added]) };
      });
    });
}

function addSignTrust(trust: Command, open: Open): void {
  const command = trust.command('sign').description('add a signature by a root key').argument('<file>');
  addSigningFlags(command).action(async (file: string, flags: SigningFlags, self: Command) => {
    const session = open(self);
    const { split } = await readTrustFile(file);
    const key = await requireSigningKey(session, flags);
    const added = session.platform.signing.signMessage(split.message, key);
    const others = split.signatures.filter(({ publicKey }) => !includesKey([publicKey], added.publicKey));
    const signed = joinTrust(split.body, [...others, added]);
    session.platform.signing.writeFileAtomic(file, signed);
    show(session, file, splitTrust(signed));
  });
}

function addShow(trust: Command, open: Open): void {
  trust
    .command('show')
    .description('what a trust file says, and whether enough roots have signed it')
    .argument('<file>')
    .option('--after <file>', 'also whether devices that trust this file now would take it')
    .action(async (file: string, { after }: { after?: string }, self: Command) => {
      const session = open(self);
      const { split } = await readTrustFile(file);
      if (after !== undefined) {
        const { trust: current } = await readTrustFile(after);
        acceptTrust(current, joinTrust(split.body, split.signatures), session.platform.signing.verifier);
      }
      const isSigned = show(session, file, split);
      session.setExitCode(isSigned ? EXIT_OK : EXIT_SIGNATURE);
    });
}

function change(trust: Command, name: string, description: string): Command {
  return trust
    .command(name)
    .description(description)
    .argument('<file>', 'trust file: a draft is changed, of a signed one the next version is made')
    .option('-o, --output <file>', 'trust file to write; default for a draft: the same file');
}

/** What was signed has gone out, perhaps, and is never changed: its successor is a file of its own. */
async function edit(session: Session, file: string, output: string | undefined, apply: (draft: Trust) => Trust) {
  const { trust, split } = await readTrustFile(file);
  const isSigned = split.signatures.length > 0;
  const version = trust.version + (isSigned ? 1 : 0);
  if (isSigned && (output === undefined || output === file)) {
    throw new UsageError(`${file} is signed: -o names the file for version ${version}`);
  }
  writeDraft(session, output ?? file, { ...apply(trust), version });
}

function writeDraft(session: Session, file: string, draft: Trust): void {
  checkTrust(draft);
  const body = encodeTrust(draft);
  // Whatever is written can be read again, its limits included.
  parseTrust(body);
  const bytes = joinTrust(body, []);
  session.platform.signing.writeFileAtomic(file, bytes);
  show(session, file, splitTrust(bytes));
}

/** Prints it; true when enough of its own roots have signed. */
function show(session: Session, file: string, split: SplitTrust): boolean {
  const trust = parseTrust(split.body);
  const signed = signedRoots(trust, split, session.platform.signing.verifier);
  const isSigned = signed.length >= trust.threshold;
  session.output.result({ file, ...trust, signedBy: signed, isSigned }, () =>
    table([
      ['file', `${file}, version ${trust.version}`],
      ['expires', trust.expires ?? 'never'],
      ['signed', `by ${signed.length} of ${trust.roots.length} roots, ${trust.threshold} needed`],
      ...trust.roots.map((key): [string, string] => [
        'root',
        `${toHex(key)}${includesKey(signed, key) ? ' signed' : ''}`,
      ]),
      ...trust.keys.map(({ publicKey, roles, expires }): [string, string] => [
        'key',
        `${toHex(publicKey)} ${roles.join(', ')}${expires === null ? '' : `, expires ${expires}`}`,
      ]),
      ...trust.revoked.map((key): [string, string] => ['revoked', toHex(key)]),
    ]),
  );
  return isSigned;
}

async function readTrustFile(path: string): Promise<{ trust: Trust; split: SplitTrust }> {
  const split = splitTrust(await readSmallFile(path, MAX_TRUST_BYTES));
  return { split, trust: parseTrust(split.body) };
}

function readKeys(session: Session, paths: readonly string[]): Promise<Uint8Array[]> {
  return Promise.all(paths.map((path) => readPublicKeyFile(session, path)));
}

function sortedKeys(keys: readonly Uint8Array[]): Uint8Array[] {
  return [...keys].sort(compareKeys);
}

/** A day stands for its first second. */
function moment(text: string): Moment | null {
  try {
    return momentOf(/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text) ? `${text}T00:00:00Z` : text);
  } catch {
    throw new InvalidArgumentError('Expected a day like 2027-12-31, a moment like 2027-12-31T00:00:00Z, or never.');
  }
}
