/** `mallorn trust key-record`: what a trust file says, as the record that microcontrollers take (core/slots/key-record.ts). */

import { type Command, Option } from 'commander';
import { TrustError } from '../../core/errors.js';
import { toHex } from '../../core/hex.js';
import { MAX_TRUST_BYTES } from '../../core/limits.js';
import { acceptTrust, readPinnedTrust, usableKeys } from '../../core/trust/accept-trust.js';
import { includesKey, type Moment, ROLES, type Role, type Trust } from '../../core/trust/trust-file.js';
import { addSigningFlags, requireSigningKey, type SigningFlags } from './key-options.js';
import { table } from './output.js';
import { readSmallFile } from './read-file.js';
import type { AddCommand } from './session.js';

interface Flags extends SigningFlags {
  readonly output: string;
  readonly role: readonly Role[];
  readonly deviceClass: string;
  readonly after?: string;
}

export const addTrustKeyRecord: AddCommand = (trust, open) => {
  const command = trust
    .command('key-record')
    .description("sign a record of a trust file's keys, of the file's version, with the root key of microcontrollers")
    .argument('<file>', 'trust file that enough of its roots have signed')
    .addOption(
      new Option('--role <role...>', 'take keys that have these roles; microcontrollers do not tell roles apart')
        .choices(ROLES)
        .default(ROLES),
    )
    .option('--device-class <name>', 'class of the devices it is for (default: any)', '')
    .option('--after <file>', 'also whether devices that trust this file now would take <file>')
    .requiredOption('-o, --output <file>', 'record to write');
  addSigningFlags(command).action(async (file: string, flags: Flags, self: Command) => {
    const session = open(self);
    const { signing, library } = session.platform;
    const read = async (path: string): Promise<Uint8Array> => readSmallFile(path, MAX_TRUST_BYTES);
    const bytes = await read(file);
    const said = readPinnedTrust(bytes, signing.verifier);
    if (flags.after !== undefined) {
      acceptTrust(readPinnedTrust(await read(flags.after), signing.verifier), bytes, signing.verifier);
    }
    const keys = usableNow(said, flags.role);
    const root = await requireSigningKey(session, flags, ': the root key that the devices were built with');
    // The file's version is the record's: whoever follows files never sets a device back.
    const { version } = said;
    const record = library.signKeyRecord({ version, deviceClass: flags.deviceClass, keys }, root);
    signing.writeFileAtomic(flags.output, record);
    const leftOut = said.keys.map(({ publicKey }) => publicKey).filter((key) => !includesKey(keys, key));
    session.output.result({ output: flags.output, version, keys, leftOut }, () =>
      table([
        ['record', `${flags.output}, version ${version}`],
        ...keys.map((key): [string, string] => ['key', toHex(key)]),
        ...leftOut.map((key): [string, string] => ['left out', toHex(key)]),
      ]),
    );
  });
};

/** Microcontrollers have no clock: this machine's is the last to see that a key has expired. */
function usableNow(trust: Trust, roles: readonly Role[]): Uint8Array[] {
  const now: Moment = `${new Date().toISOString().slice(0, 19)}Z`;
  const lists = roles.map((role) => usableKeys(trust, role, now));
  const keys = (lists[0] ?? []).filter((key) => lists.every((list) => includesKey(list, key)));
  if (keys.length > 0) return keys;
  const wanted = roles.join(' and ');
  throw new TrustError('BAD_TRUST', `trust file: expected a key for ${wanted} that counts at ${now}, got none`);
}
