/** Faults of in-place updates that the power-cut suite must notice. */
import { type Mutant, mutant } from './mutants.js';

const CUTS = 'in-place/1k-w4-00';
/** Of its scratch area. */
const ONE_SLOT = 'in-place-one-scratch/1k-w4-00';
const DECAY = 'in-place-decay/1k-w4-00';
const [APPLIER, TARGET, JOURNAL] = ['core/apply/applier.ts', 'core/apply/in-place-target.ts', 'core/apply/journal.ts'];
const OVERWRITING = "this.state = 'overwriting';\n      this.journalCheckpoint();";

export const IN_PLACE_MUTANTS: readonly Mutant[] = [
  mutant('a unit is journaled before it is whole in its scratch slot', CUTS, [
    APPLIER,
    "if (this.state !== 'overwriting') this.inPlace.endUnit();",
    `if (this.state !== 'overwriting') { ${OVERWRITING} this.inPlace.endUnit(); }`,
  ]),
  mutant('the model is written over before the journal says where the unit lies', CUTS, [
    APPLIER,
    OVERWRITING,
    "this.state = 'overwriting';",
  ]),
  mutant('a unit counts as written before it is', CUTS, [
    APPLIER,
    "this.phase = 'overwrite';",
    "this.phase = 'overwrite'; this.state = 'mixed'; this.body.mark(); this.journalCheckpoint();",
  ]),
  mutant('a written unit is not journaled before its scratch slot is used again', ONE_SLOT, [
    APPLIER,
    'this.unitRetriesLeft = UNIT_RETRIES;\n    this.body.mark();\n    this.journalCheckpoint();',
    'this.unitRetriesLeft = UNIT_RETRIES;',
  ]),
  mutant('what is read back from the scratch slot is not compared', DECAY, [
    APPLIER,
    'if (!matches) throw this.wrongUnit();',
    'if (!matches && this.unitCheck !== null) throw this.wrongUnit();',
  ]),
  mutant('an interrupted unit is written from its scratch slot unchecked', DECAY, [
    APPLIER,
    "this.phase = 'unit-check';",
    "this.phase = this.state === 'overwriting' ? 'overwrite' : 'unit-check';",
  ]),
  mutant('an interrupted unit counts as written', CUTS, [
    TARGET,
    "if (state !== 'overwriting') {",
    "if (state !== 'needs-full-image') {",
  ]),
  mutant('the slot is served while it is mixed', CUTS, [
    JOURNAL,
    "state === 'source-verified' || state === 'whole'",
    "state === 'source-verified' || state === 'mixed' || state === 'whole'",
  ]),
  mutant('a full image over half a model lets it be served meanwhile', DECAY, [
    TARGET,
    "if (this.header.standalone) return 'mixed';",
    "if (this.header.standalone) return 'source-verified';",
  ]),
  mutant('a lost slot is not remembered', DECAY, [
    APPLIER,
    "this.forgetProgress('needs-full-image');",
    "this.forgetProgress('none');",
  ]),
  mutant('one scratch slot takes all the wear', CUTS, [
    TARGET,
    'this.scratchSlot = (this.scratchSlot + 1) % this.scratchSlots;',
    'this.scratchSlot = 0;',
  ]),
  mutant('the encoder reads what is written over by then', 'in-place-encoded/zstd', [
    'core/diff/encode-body.ts',
    'floor: unitStart(start, this.unitBytes)',
    'floor: 0',
  ]),
];
