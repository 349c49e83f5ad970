/**
 * Faults that the power-cut suite must notice: edits of the production source, each with the groups that kill it.
 */

import type { Edit } from '../support/edit.js';

export interface Mutant {
  readonly name: string;
  readonly groups: readonly string[];
  readonly edits: readonly Edit[];
}

const BYTES = 'one/1k-w4-00/zstd';
/** Its journal begins a few records before the end of a block, and comes round to its first block again. */
const WRAPPING = 'one/1k-w16-00/zstd';
const COARSE = 'one/4k-w1-ff/zstd';
const FOLDER = 'folder/over-previous';
const [APPLIER, JOURNAL, TARGET] = ['core/apply/applier.ts', 'core/apply/journal.ts', 'core/apply/flash-target.ts'];
const [DIRECTORY, FILES] = ['targets/node/slot-directory.ts', 'targets/node/slot-files.ts'];
const BODY = 'core/apply/body-reader.ts';
const ATOMIC = 'targets/node/atomic-file.ts';

export function mutant(name: string, group: string, ...edits: readonly (readonly [string, string, string])[]): Mutant {
  return { name, groups: [group], edits: edits.map(([file, from, to]) => ({ file, from, to })) };
}

const FLUSH = 'if (this.buffered === this.buffer.length) this.flush();\n    }';
const TAKE = 'const take = Math.min(bytes.length - from, this.buffer.length - this.buffered);';
const ON_BLOCK_END = "invariant(this.buffered === 0, 'the program buffer divides a block');";

export const MUTANTS: readonly Mutant[] = [
  mutant(
    'the journal is written before the data it vouches for',
    BYTES,
    [TARGET, FLUSH, '}'],
    [TARGET, TAKE, `if (this.buffered === this.buffer.length) this.flush(); ${TAKE}`],
    [TARGET, ON_BLOCK_END, ''],
  ),
  mutant(
    'the end is journaled before the last bytes are written',
    BYTES,
    [APPLIER, 'this.sink.finish();\n    if (this.lastCheckpoint', 'if (this.lastCheckpoint'],
    [APPLIER, "return 'target-hash';", "this.sink.finish(); return 'target-hash';"],
  ),
  mutant('the oldest journal record counts', BYTES, [JOURNAL, '| 0) <= 0) continue', '| 0) >= 0) continue']),
  mutant('a torn journal record is programmed over', BYTES, [
    JOURNAL,
    'if (this.isErased(slot)) return slot;',
    'return slot;',
  ]),
  mutant('the block of the newest journal record is erased', WRAPPING, [
    JOURNAL,
    'const block = (slot / this.perBlock) % this.status.blocks;',
    'const block = (slot / this.perBlock - 1 + this.status.blocks) % this.status.blocks;',
  ]),
  mutant("a journal record's CRC is not checked", BYTES, [
    JOURNAL,
    ' || readU32(this.record, CRC_OFFSET) !== crc32(this.record, 0, CRC_OFFSET)',
    '',
  ]),
  mutant('a resumed update does not erase its first block', BYTES, [
    TARGET,
    'this.nextBlock = blockEnd;',
    'this.nextBlock = blockEnd + 1;',
  ]),
  mutant('what lies before the segment in its frame is not skipped', BYTES, [
    BODY,
    'if (skip > 0) this.frames.drop(skip);',
    '',
  ]),
  mutant("the next frame's hash is journaled for this one", BYTES, [
    BODY,
    'this.frames.hasPayload ? this.currentFrameHash : this.frames.expectedHash',
    'this.frames.expectedHash',
  ]),
  mutant('a resumed copy begins at its start', BYTES, [
    APPLIER,
    'this.progress = this.sink.written - this.segmentStart;',
    'this.progress = 0;',
  ]),
  mutant('a checkpoint may lie inside an erase block', COARSE, [
    TARGET,
    `if (this.written % this.status.blockLength !== 0) return false;\n    ${ON_BLOCK_END}`,
    '',
  ]),
  mutant('a long copy is not journaled', BYTES, [
    APPLIER,
    'this.sink.written - this.lastCheckpoint >= this.parsed!.segmentBytes',
    'false',
  ]),
  mutant('no segment is journaled', BYTES, [
    APPLIER,
    'if (this.journal !== null && this.sink.checkpoint()) {\n      this.body.mark();',
    'if (this.parsed === null) {\n      this.body.mark();',
  ]),
  mutant('the slot is not synced before the journal speaks of it', FOLDER, [
    TARGET,
    `${ON_BLOCK_END}\n    this.flash.sync();`,
    ON_BLOCK_END,
  ]),
  mutant('the end of the model is not synced before the journal speaks of it', FOLDER, [
    TARGET,
    'this.program(padded);\n    }\n    this.flash.sync();',
    'this.program(padded);\n    }',
  ]),
  mutant('an atomic file is renamed before it is synced', FOLDER, [
    ATOMIC,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the source has it.
    'attempt(`cannot sync ${this.tempPath}`, () => fsyncSync(this.fd));',
    '',
  ]),
  mutant(
    'a commit is not durable when it returns',
    FOLDER,
    [ATOMIC, "this.state = 'done';\n    syncFolder(dirname(this.path));", "this.state = 'done';"],
    [
      FILES,
      'renameSync(temp, this.currentPath);\n    });\n    syncFolder(this.folder);',
      'renameSync(temp, this.currentPath);\n    });',
    ],
  ),
  mutant('current is removed before it is made again', FOLDER, [
    FILES,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the source has it.
    'symlinkSync(`${slot}.model`, temp);\n      renameSync(temp, this.currentPath);',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the source has it.
    'removeFile(this.currentPath);\n      symlinkSync(`${slot}.model`, this.currentPath);',
  ]),
  mutant('the counter floor is raised before the update is whole', FOLDER, [
    DIRECTORY,
    'this.files.writeState(withSlot(state, slot, null));',
    'this.files.writeState({ ...withSlot(state, slot, null), counterFloor: state.counterFloor + 1 });',
  ]),
  mutant('the new model is active before it is whole', FOLDER, [
    DIRECTORY,
    'this.finishModel(slot, contents.size);\n',
    'this.activate({ ...withSlot(state, slot, contents), active: slot }, slot);\n    this.finishModel(slot, contents.size);\n',
  ]),
];
