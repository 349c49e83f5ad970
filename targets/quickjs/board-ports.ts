/** Core's ports over what a board's firmware gives. */

import { verify } from '@stablelib/ed25519';
import { IoError } from '../../core/errors.js';
import type { Clock, FlashDevice, FlashStatus, Hasher, SerialLine, SignatureVerifier } from '../../core/ports.js';
import type { Host } from './host.js';

export class BoardFlash implements FlashDevice {
  private readonly host: Host;
  private readonly geometry: FlashStatus;

  constructor(host: Host) {
    this.host = host;
    const { flashBytes, eraseBytes, writeAlign = 1, eraseValue = 0xff } = host;
    const blocks = flashBytes / eraseBytes;
    this.geometry = { size: flashBytes, blockLength: eraseBytes, blocks, writeAlign, eraseValue };
  }

  status(): FlashStatus {
    return this.geometry;
  }

  read(offset: number, into: Uint8Array): void {
    try {
      this.host.flashRead(offset, into);
    } catch {
      throw failed('read', offset);
    }
  }

  eraseBlock(index: number): void {
    const offset = index * this.geometry.blockLength;
    try {
      this.host.flashErase(offset);
    } catch {
      throw failed('erase', offset);
    }
  }

  program(offset: number, bytes: Uint8Array): void {
    try {
      this.host.flashProgram(offset, bytes);
    } catch {
      throw failed('program', offset);
    }
  }

  sync(): void {
    // Durable once programmed.
  }
}

function failed(operation: string, offset: number): IoError {
  return new IoError(`flash: ${operation} at ${offset} failed`);
}

/** Of a host that has a hash. */
export class BoardHasher implements Hasher {
  private readonly host: Host;

  constructor(host: Host) {
    this.host = host;
  }

  reset(): void {
    this.host.sha256Reset!();
  }

  update(bytes: Uint8Array): void {
    this.host.sha256Update!(bytes);
  }

  digest(into: Uint8Array): void {
    this.host.sha256Digest!(into);
  }
}

/** TweetNaCl's arithmetic on plain numbers: the one kind of library whose peak heap fits a microcontroller. */
export class SmallVerifier implements SignatureVerifier {
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): 'valid' | 'invalid' {
    return verify(publicKey, message, signature) ? 'valid' : 'invalid';
  }
}

export function serialLineOf(host: Host): SerialLine {
  return { read: (into) => host.serialRead(into), write: (bytes) => host.serialWrite(bytes) };
}

export function clockOf(host: Host): Clock {
  return { now: () => host.clock() };
}
