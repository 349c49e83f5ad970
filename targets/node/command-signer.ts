/**
 * Signs by asking a program, so that the private key can stay in a hardware module, an agent or another machine. What comes
 * back is checked against the stated public key before anybody writes it. Runs in worker threads: waiting harms nobody there.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IoError, SignatureError } from '../../core/errors.js';
import { fromHex } from '../../core/hex.js';
import { ed25519Precheck } from '../../core/patch/ed25519-precheck.js';
import { SIGNATURE_BYTES } from '../../core/patch/signatures.js';
import type { Signer } from '../../core/ports.js';
import { decodeBase64 } from './base64.js';
import { NodeSignatureVerifier } from './hashing.js';

/** A hardware key may wait for a finger, a person for a PIN. */
export const DEFAULT_SIGNER_TIMEOUT_MS = 60_000;
/** An argument that is exactly this becomes the path of a file with the message; without one the message is on stdin. */
export const MESSAGE_ARGUMENT = '{message}';
const MAX_ANSWER_BYTES = 4096;

export interface SignerCommand {
  /** Program and arguments; no shell sees them. */
  readonly command: readonly string[];
  /** 32 bytes: whose signatures it makes. */
  readonly publicKey: Uint8Array;
  readonly timeoutMs: number;
}

export class CommandSigner implements Signer {
  readonly publicKey: Uint8Array;
  private readonly settings: SignerCommand;

  constructor(settings: SignerCommand) {
    this.settings = settings;
    this.publicKey = settings.publicKey;
  }

  /** @throws IoError when the program cannot be run, fails or takes too long; SignatureError for what is no signature of the key */
  sign(message: Uint8Array): Uint8Array {
    const signature = signatureIn(this.answerTo(message));
    const fault =
      ed25519Precheck(this.publicKey, signature) ??
      (new NodeSignatureVerifier().verify(this.publicKey, message, signature) === 'valid' ? null : 'does not verify');
    if (fault === null) return signature;
    throw new SignatureError('BAD_SIGNATURE', `the signer's answer is no signature by the stated public key: ${fault}`);
  }

  private answerTo(message: Uint8Array): Buffer {
    if (!this.settings.command.includes(MESSAGE_ARGUMENT)) return this.run(this.settings.command, message);
    const folder = mkdtempSync(join(tmpdir(), 'mallorn-sign-'));
    try {
      const path = join(folder, 'message');
      writeFileSync(path, message);
      const command = this.settings.command.map((word) => (word === MESSAGE_ARGUMENT ? path : word));
      return this.run(command, new Uint8Array(0));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  private run([program = '', ...args]: readonly string[], input: Uint8Array): Buffer {
    const { timeoutMs } = this.settings;
    const { error, status, signal, stdout } = spawnSync(program, args, {
      input,
      // What it has to say or ask is between it and the user.
      stdio: ['pipe', 'pipe', 'inherit'],
      shell: false,
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: MAX_ANSWER_BYTES,
    });
    const code = (error as NodeJS.ErrnoException | undefined)?.code;
    // A program that does not read all of its input may still have signed.
    if (error !== undefined && code !== 'EPIPE') {
      const what = code === 'ETIMEDOUT' ? `gave no answer within ${timeoutMs} ms` : error.message;
      throw new IoError(`the signer ${program} ${what}`, { cause: error });
    }
    if (status === 0) return stdout;
    throw new IoError(`the signer ${program} ended with ${signal ?? `code ${status}`}`);
  }
}

/** 64 raw bytes, or their hex or base64 on one line, which is how many tools print them. */
function signatureIn(answer: Buffer): Uint8Array {
  if (answer.length === SIGNATURE_BYTES) return new Uint8Array(answer);
  const text = answer.toString('latin1').trim();
  const signature = /^[0-9a-fA-F]{128}$/.test(text) ? fromHex(text) : decodeBase64(text);
  if (signature?.length === SIGNATURE_BYTES) return signature;
  throw new SignatureError(
    'BAD_SIGNATURE',
    `the signer's answer: expected ${SIGNATURE_BYTES} bytes, or their hex or base64, got ${answer.length} bytes of something else`,
  );
}
