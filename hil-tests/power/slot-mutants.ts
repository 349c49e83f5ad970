/** Faults of the slot store on raw flash that the power-cut suite must notice; as in mutants.ts. */
import { type Mutant, mutant } from './mutants.js';

const KEPT = 'slots/1k-w4-00/kept';
const KEYS = 'keys/1k-w4-00';
const UNFIT = 'slots/1k-w4-00/unfit';
const [SLOTS, LOG] = ['core/slots/flash-slots.ts', 'core/slots/record-log.ts'];

const WRITING = "this.inactive.state = 'writing';";
const STAGED = "this.inactive.state = 'staged';";
const CHECK_CRC = ' && readU32(record, this.crcOffset) === crc32(record, 0, this.crcOffset)';
const PROGRAM = 'area.flash.program(this.offsetOf(area, area.next), this.draft);';

export const SLOT_MUTANTS: readonly Mutant[] = [
  mutant('a revert is not recorded', UNFIT, [SLOTS, "this.tryWrite();\n    return 'reverted';", "return 'reverted';"]),
  mutant('a revert forgets that the model was bad', UNFIT, [SLOTS, 'table.slots[table.active]!.state = left;', '']),
  mutant('a revert lowers the counter floor', UNFIT, [
    SLOTS,
    'table.slots[table.active]!.state = left;',
    'table.slots[table.active]!.state = left; table.counterFloor = table.slots[index]!.minimumCounter;',
  ]),
  mutant('a trial boot is not counted', UNFIT, [SLOTS, 'table.trialBoots++;', '']),
  mutant('a trial boot is counted in memory alone', UNFIT, [
    SLOTS,
    "if (this.tryWrite()) return 'trial';",
    "return 'trial';",
  ]),
  mutant('a trial runs before its boot is recorded', UNFIT, [
    SLOTS,
    'if (table.trialBoots < this.trialBoots) {',
    "if (table.trialBoots === 0) { table.trialBoots = 1; return 'trial'; }\n    if (table.trialBoots < this.trialBoots) {",
  ]),
  mutant('a confirmation is not recorded', KEPT, [
    SLOTS,
    "this.table.slots[this.table.active]!.state = 'good';\n    this.write();",
    "this.table.slots[this.table.active]!.state = 'good';",
  ]),
  mutant('the counter floor rises when an update begins', KEPT, [
    SLOTS,
    WRITING,
    `${WRITING} this.table.counterFloor++;`,
  ]),
  mutant('the counter floor rises when an update is staged', KEPT, [
    SLOTS,
    STAGED,
    `${STAGED} this.table.counterFloor = Math.max(this.table.counterFloor, minimumCounter);`,
  ]),
  mutant('the previous model is written over before the records say so', KEPT, [
    SLOTS,
    `${WRITING}\n      this.write();`,
    'flash.eraseBlock(0);\n      this.inactive.state = "writing";\n      this.write();',
  ]),
  mutant('a model that is being written is already active', KEPT, [
    SLOTS,
    `${WRITING}\n      this.write();`,
    `this.makeActive();\n      this.write();\n      this.turnBack('good');\n      ${WRITING}\n      this.write();`,
  ]),
  mutant("a slot record's CRC is not checked", KEPT, [LOG, CHECK_CRC, '']),
  mutant(
    'a slot record is written magic first, and believed by that',
    KEPT,
    [
      LOG,
      PROGRAM,
      `${PROGRAM.replace('this.draft', 'this.draft.subarray(0, 16)')}
      area.flash.program(this.offsetOf(area, area.next) + 16, this.draft.subarray(16));`,
    ],
    [LOG, CHECK_CRC, ''],
  ),
  mutant('compaction erases before it copies', KEPT, [
    LOG,
    'this.encode(payload, sequence);\n    const first',
    'this.encode(payload, sequence);\n    if (one.next >= one.places) for (const area of this.areas) eraseArea(area);\n    const first',
  ]),
  mutant('a torn slot record is programmed over', KEPT, [
    LOG,
    'if (!this.isErased(area) || !this.program(area)) continue;',
    'if (!this.program(area)) continue;',
  ]),
  mutant('a record area that lags stays behind', KEPT, [SLOTS, 'this.log.repair();', '']),
  mutant('a journal outlives its update when the cut is right after it', KEPT, [
    SLOTS,
    "if (this.inactive.state !== 'writing') this.clearJournal();",
    '',
  ]),
  mutant('a torn record of keys is believed', KEYS, [LOG, CHECK_CRC, '']),
  mutant('keys that a cut left in one area alone stay there', KEYS, [
    'core/slots/trusted-keys.ts',
    'this.log.repair();\n',
    '',
  ]),
];
