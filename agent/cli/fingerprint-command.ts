/** `mallorn fingerprint`. */

import type { Command } from 'commander';
import { toHex } from '../../core/hex.js';
import { EXIT_OK, EXIT_OTHER } from './failure.js';
import { bytesText, table } from './output.js';
import type { Library } from './platform.js';
import type { AddCommand } from './session.js';

type Fingerprint = Awaited<ReturnType<Library['fingerprint']>>;

export const addFingerprint: AddCommand = (program, open) => {
  program
    .command('fingerprint')
    .description('a quick look at a model: reads at most 68 KiB; a hint, never a proof')
    .argument('<model>')
    .option('--compare <other>', 'end with 0 if both may be the same file, with 1 if they are not')
    .action(async (model: string, { compare }: { compare?: string }, self: Command) => {
      const session = open(self);
      const { fingerprint } = session.platform.library;
      const first = await fingerprint(model, { signal: session.signal });
      if (compare === undefined) {
        session.output.result(asJson(first), () => lines(first));
        return;
      }
      const second = await fingerprint(compare, { signal: session.signal });
      const same = first.matches(second);
      session.output.result({ same, fingerprints: [asJson(first), asJson(second)] }, () => [
        `${same ? 'same' : 'different'}  ${first.short()} ${second.short()}`,
      ]);
      session.setExitCode(same ? EXIT_OK : EXIT_OTHER);
    });
};

function asJson(fingerprint: Fingerprint) {
  return { ...fingerprint, short: fingerprint.short() };
}

function lines(fingerprint: Fingerprint): string[] {
  return table([
    ['fingerprint', fingerprint.short()],
    ['format', fingerprint.format],
    ['size', bytesText(fingerprint.fileSize)],
    ['header md5', toHex(fingerprint.headerHash)],
    ['tail md5', toHex(fingerprint.tailHash)],
  ]);
}
