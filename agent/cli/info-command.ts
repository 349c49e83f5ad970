/** `mallorn info`. */

import type { Command } from 'commander';
import { toHex } from '../../core/hex.js';
import { bytesText, countText, table } from './output.js';
import type { PatchExplanation, PatchInfo } from './platform.js';
import { type AddCommand, withProgress } from './session.js';

interface InfoFlags {
  readonly verbose?: true;
  readonly source?: string;
}

const NAME_WIDTH = 48;

export const addInfo: AddCommand = (program, open) => {
  program
    .command('info')
    .description('say what a patch is; checks no signature')
    .argument('<patch>')
    .option('-v, --verbose', 'also its segments, and with --source its ops per tensor')
    .option('--source <model>', 'the model the patch was made from')
    .action(async (patch: string, flags: InfoFlags, self: Command) => {
      const session = open(self);
      const { library } = session.platform;
      const info = await library.patchInfo(patch, { signal: session.signal });
      const detailed = flags.verbose === true || flags.source !== undefined;
      const given = flags.source === undefined ? {} : { source: flags.source };
      const explanation = detailed
        ? await withProgress(session, (call) => library.explainPatch(patch, { ...call, ...given }))
        : null;
      session.output.result({ ...info, ...explanation }, () => [
        ...infoLines(info),
        ...(explanation === null ? [] : explanationLines(explanation)),
      ]);
    });
};

function infoLines(info: PatchInfo): string[] {
  const source: [string, string] = ['source', `${bytesText(info.sourceSize)}, sha256 ${toHex(info.sourceHash)}`];
  const rows: [string, string][] = [
    ['format', `${info.format}, patch format version ${info.version}`],
    ['patch', `${bytesText(info.patchSize)}, ${info.compression}, profile ${info.profile}`],
    info.standalone ? ['source', 'none: stand-alone'] : source,
    ['target', `${bytesText(info.targetSize)}, sha256 ${toHex(info.targetHash)}`],
    ['tensors', `${countText(info.tensorsModified)} modified, ${countText(info.tensorsUnchanged)} unchanged`],
    ['signed', info.signed ? `by ${info.signers.map(toHex).join(', ')} (not checked)` : 'no'],
    ['counter', info.versionCounter === 0 ? 'none' : `${info.versionCounter}, minimum ${info.minimumCounter}`],
    ['for', `family ${info.family || 'any'}, device class ${info.deviceClass || 'any'}`],
    ['created', info.createdAt?.toISOString() ?? 'not said'],
    ...inPlaceRow(info),
    ['buffers', `${bytesText(info.bufferBytes)} in the decoder`],
  ];
  return table(rows);
}

function inPlaceRow({ inPlace, unitBytes }: PatchInfo): [string, string][] {
  return inPlace ? [['in place', `in units of ${bytesText(unitBytes)}: erase blocks and scratch area`]] : [];
}

function explanationLines({ segments, tensors }: PatchExplanation): string[] {
  const lines = ['', 'segment     target bytes     in patch   ops'];
  for (const { kind, targetBytes, patchBytes, ops } of segments) {
    const columns = [countText(targetBytes).padStart(14), countText(patchBytes).padStart(12)];
    lines.push(`${kind.padEnd(10)}${columns.join(' ')} ${(ops === null ? '?' : countText(ops)).padStart(5)}`);
  }
  if (tensors === null) return [...lines, '', 'give --source MODEL for the ops per tensor'];
  lines.push(
    '',
    `${'tensor'.padEnd(NAME_WIDTH)} ${['copied', 'delta', 'cast', 'literal'].map((word) => word.padStart(12)).join('')}`,
  );
  for (const { name, copiedBytes, deltaBytes, castBytes, literalBytes } of tensors) {
    const counts = [copiedBytes, deltaBytes, castBytes, literalBytes].map((count) => countText(count).padStart(12));
    lines.push(`${shortName(name === '' ? '(outside tensors)' : name)} ${counts.join('')}`);
  }
  return lines;
}

function shortName(name: string): string {
  return name.length > NAME_WIDTH ? `${name.slice(0, NAME_WIDTH - 3)}...` : name.padEnd(NAME_WIDTH);
}
