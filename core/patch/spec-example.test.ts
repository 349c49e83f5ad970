/** SPEC.md's worked example is a patch: it is read out of there, compared field by field, and applied. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { NodeHasher } from '../../targets/node/hashing.js';
import { applied, Probe } from '../apply/run-patch.test.js';
import { fromHex, toHex } from '../hex.js';
import { describePatch, sha256 } from './build-patch.test.js';
import { checkHeaderDigest } from './header.js';
import { RFC_8032_VECTORS } from './rfc8032.test.js';
import { emptySegmentHeader, readSegmentHeader, type SegmentHeader } from './segment.js';
import { keyIdOf } from './signatures.js';

const spec = readFileSync(new URL('./SPEC.md', import.meta.url), 'utf8');

function fenced(name: string): string {
  const found = new RegExp(`^\`\`\`${name}\n([\\s\\S]*?)^\`\`\``, 'm').exec(spec);
  assert.ok(found, `SPEC.md has a block named ${name}`);
  return found[1]!;
}

function bytesOf(text: string): Uint8Array {
  return fromHex(text.replaceAll(/\s/g, ''));
}

interface Line {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly label: string;
}

/** One for each label; lines labelled ".." go on with the one before. */
function annotated(): Line[] {
  const lines: Line[] = [];
  for (const text of fenced('patch').trimEnd().split('\n')) {
    const [, offset, hex, label] =
      /^([0-9a-f]{4}) {2}((?:[0-9a-f]{2} ?){1,16}) +(\S.*)$/.exec(text) ?? assert.fail(text);
    const line = { offset: Number.parseInt(offset!, 16), bytes: bytesOf(hex!), label: label! };
    const last = lines.at(-1);
    assert.equal(line.offset, last === undefined ? 0 : last.offset + last.bytes.length, `no gap before ${text}`);
    if (last !== undefined && line.label === '..')
      lines[lines.length - 1] = { ...last, bytes: new Uint8Array([...last.bytes, ...line.bytes]) };
    else lines.push(line);
  }
  return lines;
}

const source = bytesOf(fenced('source'));
const target = bytesOf(fenced('target'));
const lines = annotated();
const patch = describePatch(new Uint8Array(lines.flatMap(({ bytes }) => [...bytes])));

function line(label: string): Line {
  const found = lines.filter((one) => one.label === label || one.label.startsWith(`${label}:`));
  assert.equal(found.length, 1, `one line for ${label}`);
  return found[0]!;
}

function numberAt(label: string): number {
  return line(label).bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}

/** The header table: offset (empty behind the fixed fields), type and name of each field. */
function headerTable(): { offset: string; width: number | null; name: string }[] {
  const table = /^## Header\n[\s\S]*?^## /m.exec(spec)?.[0] ?? '';
  return [...table.matchAll(/^\| *(\d*) *\| *([^|]*?) *\| *(\w+) *\|/gm)].map(([, offset, type, name]) => {
    const width = /^u(\d+)$/.exec(type!)?.[1];
    const bytes = /^(\d+) bytes$/.exec(type!)?.[1];
    return {
      offset: offset!,
      width: width !== undefined ? Number(width) / 8 : bytes !== undefined ? Number(bytes) : null,
      name: name!,
    };
  });
}

test('the example has every field of the header table, at its offset and of its width', () => {
  const table = headerTable();
  assert.equal(table.length, 35);
  for (const { offset, width, name } of table) {
    if (name === 'priors') continue; // none in the example
    const field = line(name);
    if (offset !== '') assert.equal(field.offset, Number(offset), name);
    if (width !== null) assert.equal(field.bytes.length, width, name);
  }
});

test("the header's fields are what the parser reads", () => {
  const { header } = patch;
  for (const name of [
    'frameBytes',
    'segmentBytes',
    'packedBytes',
    'plainBytes',
    'dictionaryBytes',
    'contextBytes',
    'sourceSize',
    'targetSize',
    'bodyBytes',
    'tensorsModified',
    'tensorsUnchanged',
    'versionCounter',
    'minimumCounter',
    'createdAt',
    'level',
    'decodeClass',
    'version',
  ] as const) {
    assert.equal(header[name], numberAt(name), name);
    const noted = /: (\d+)/.exec(line(name).label)?.[1];
    assert.equal(noted, String(header[name]), `the note beside ${name}`);
  }
  for (const name of ['sourceHash', 'targetHash', 'firstFrameHash'] as const)
    assert.equal(toHex(header[name]), toHex(line(name).bytes));
  assert.deepEqual([header.format, header.codec, header.profile, header.standalone], ['Binary', 'zstd', 'mcu', false]);
  assert.deepEqual([header.family, header.deviceClass, header.priors.length], ['pose', 'm4', 0]);
  assert.equal(numberAt('headerBytes'), patch.headerBytes);
  checkHeaderDigest(patch.bytes.subarray(0, patch.headerBytes), new NodeHasher());
});

test('hashes, key id and frames are what they are said to be', () => {
  assert.deepEqual(line('sourceHash').bytes, sha256(source));
  assert.deepEqual(line('targetHash').bytes, sha256(target));
  assert.deepEqual(line('keyId').bytes, keyIdOf(RFC_8032_VECTORS[0]!.publicKey, new NodeHasher()));
  const frames = [0, 1].map((i) => {
    const start = patch.preambleBytes + patch.geometry.wireOffset(i);
    return patch.bytes.subarray(start, start + patch.geometry.lengthOf(i));
  });
  assert.equal(patch.geometry.count, 2);
  assert.deepEqual(line('firstFrameHash').bytes, sha256(frames[0]!).subarray(0, 16));
  assert.deepEqual(line('frame 0').bytes, sha256(frames[1]!).subarray(0, 16));
  const last = lines.find(({ label }) => label.startsWith('frame 1, the last'))!;
  assert.equal(last.offset, patch.preambleBytes + patch.geometry.wireOffset(1));
});

test('the segments are the ones named', () => {
  const body = new Uint8Array([
    ...patch.bytes.subarray(patch.preambleBytes + 16, patch.preambleBytes + 64),
    ...patch.bytes.subarray(patch.preambleBytes + 64),
  ]);
  assert.equal(body.length, patch.header.bodyBytes);
  const found: Partial<SegmentHeader>[] = [];
  for (let at = 0, targetOffset = 0; targetOffset < target.length; ) {
    const segment = emptySegmentHeader();
    at += readSegmentHeader(body.subarray(at), body.length - at, targetOffset, patch.header, segment);
    at += segment.kind === 2 ? segment.packedBytes : segment.plainBytes;
    targetOffset += segment.targetBytes;
    const { kind, targetBytes, plainBytes } = segment;
    found.push({ kind, targetBytes, plainBytes });
  }
  assert.deepEqual(found, [
    { kind: 0, targetBytes: 32, plainBytes: 0 },
    { kind: 1, targetBytes: 64, plainBytes: 64 },
    { kind: 2, targetBytes: 32, plainBytes: 33 },
  ]);
});

test('the patch applies, with the key of its signature, to the target', () => {
  const probe = new Probe();
  const options = probe.options({ source }, { trustedKeys: [RFC_8032_VECTORS[0]!.publicKey] });
  assert.deepEqual(applied(patch.bytes, options, probe.target, { split: () => 1 }), target);
});
