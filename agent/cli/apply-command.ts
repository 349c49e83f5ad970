/** `mallorn apply` and `mallorn verify`. */

import type { Command } from 'commander';
import { SignatureError, SourceHashMismatch } from '../../core/errors.js';
import { toHex } from '../../core/hex.js';
import { EXIT_OK, exitCodeOf } from './failure.js';
import { readPublicKeyFile } from './key-options.js';
import { table } from './output.js';
import type { Library } from './platform.js';
import { type AddCommand, type Session, splitSource, withProgress } from './session.js';

type Verification = Awaited<ReturnType<Library['verifyPatch']>>;

interface CheckFlags {
  readonly source: boolean;
  readonly pubkey?: string;
}

export const addApply: AddCommand = (program, open) => {
  const command = program
    .command('apply')
    .description('make the target from SOURCE and PATCH')
    .usage('SOURCE PATCH -o OUT [options]\n       mallorn apply --no-source PATCH -o OUT [options]')
    .argument('<files...>', 'SOURCE and PATCH')
    .requiredOption('-o, --output <file>', 'target to write; appears whole or not at all');
  addCheckFlags(command).action(async (files: string[], flags: CheckFlags & { output: string }, self: Command) => {
    const session = open(self);
    const [source, patch] = splitSource(files, flags.source, 'PATCH');
    const key = await keyOption(session, flags);
    const verification = await withProgress(session, (call) =>
      session.platform.library.applyPatch(source, patch, flags.output, { ...key, ...call }),
    );
    session.output.result({ output: flags.output, ...asJson(verification) }, () => [
      ...table([['target', flags.output], ...verificationRows(verification)]),
    ]);
  });
};

export const addVerify: AddCommand = (program, open) => {
  const command = program
    .command('verify')
    .description('check a patch against SOURCE without writing anything')
    .usage('SOURCE PATCH [options]\n       mallorn verify --no-source PATCH [options]')
    .argument('<files...>', 'SOURCE and PATCH');
  addCheckFlags(command).action(async (files: string[], flags: CheckFlags, self: Command) => {
    const session = open(self);
    const [source, patch] = splitSource(files, flags.source, 'PATCH');
    const key = await keyOption(session, flags);
    const verification = await withProgress(session, (call) =>
      session.platform.library.verifyPatch(source, patch, { ...key, ...call }),
    );
    session.output.result(asJson(verification), () => table(verificationRows(verification)));
    session.setExitCode(verification.error === null ? EXIT_OK : exitCodeOf(verification.error));
  });
};

function addCheckFlags(command: Command): Command {
  return command
    .option('--no-source', 'the patch is a stand-alone one')
    .option('--pubkey <file>', 'refuse the patch unless this key has signed it');
}

async function keyOption(session: Session, { pubkey }: CheckFlags): Promise<{ publicKey?: Uint8Array }> {
  return pubkey === undefined ? {} : { publicKey: await readPublicKeyFile(session, pubkey) };
}

function asJson(verification: Verification) {
  return { valid: verification.isValid(), ...verification };
}

function verificationRows(verification: Verification): [string, string][] {
  const { error, sourceValid, patchValid, signatureValid, expectedTarget, actualTarget } = verification;
  const wrongSource = error instanceof SourceHashMismatch;
  const badSignature = error instanceof SignatureError;
  const badPatch = error !== null && !wrongSource && !badSignature;
  return [
    ['result', error === null ? 'valid' : `${error.name}: ${error.message}`],
    ['source', flagText(sourceValid, wrongSource)],
    ['patch', flagText(patchValid, badPatch)],
    ['signature', flagText(signatureValid, badSignature)],
    ['sha256', toHex(actualTarget ?? expectedTarget)],
  ];
}

function flagText(passed: boolean, failed: boolean): string {
  return passed ? 'ok' : failed ? 'wrong' : 'not checked';
}
