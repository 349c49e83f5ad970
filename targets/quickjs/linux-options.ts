/** The command line of the device program under `qjs`. */

export interface LinuxOptions {
  readonly flash: { readonly kind: 'file' | 'mtd'; readonly path: string };
  /** null speaks on stdin and stdout. */
  readonly tty: string | null;
  readonly deviceClass: string;
  readonly rootKey: string;
  readonly scratchBlocks: number;
  readonly sysfs: string;
  readonly eraser: string;
  /** Makes an empty store that trusts these keys, and ends. */
  readonly format: readonly string[] | null;
}

export const USAGE = `usage: qjs mallorn-linux.qjs.mjs --file PATH | --mtd /dev/mtdN  [options]
  --file PATH          flash in a file, a multiple of 4 KiB long
  --mtd DEVICE         raw NOR flash; erased by flash_erase of mtd-utils
  --tty DEVICE         speak SMP there, set up by stty before; else on stdin and stdout
  --class NAME         device class that patches are made for (linux)
  --root-key HEX       Ed25519 public key whose key records are taken
  --one-slot BLOCKS    one model, written in place through a scratch area of so many erase blocks
  --eraser COMMAND     in place of flash_erase
  --sysfs FOLDER       in place of /sys/class/mtd
  --format KEY[,KEY]   in the factory: erases the store, trusts these Ed25519 public keys (hex), and ends
`;

const KEY = /^[0-9a-f]{64}$/i;

/** @throws Error */
export function parseOptions(args: readonly string[]): LinuxOptions {
  const given = new Map<string, string>();
  for (let i = 0; i < args.length; i += 2) {
    const [name, value] = [args[i]!, args[i + 1]];
    if (!NAMES.includes(name) || given.has(name)) throw new Error(`unexpected ${name}`);
    if (value === undefined) throw new Error(`${name} needs a value`);
    given.set(name, value);
  }
  const keys = given.get('--format')?.split(',') ?? null;
  const rootKey = given.get('--root-key') ?? '';
  for (const key of [...(keys ?? []), ...(rootKey === '' ? [] : [rootKey])])
    if (!KEY.test(key)) throw new Error(`expected a key of 64 hex digits, got ${key}`);
  const scratchBlocks = Number(given.get('--one-slot') ?? '0');
  if (!Number.isSafeInteger(scratchBlocks) || scratchBlocks < 0) throw new Error('--one-slot: expected a count');
  return {
    flash: flashOf(given),
    tty: given.get('--tty') ?? null,
    deviceClass: given.get('--class') ?? 'linux',
    rootKey,
    scratchBlocks,
    sysfs: given.get('--sysfs') ?? '/sys/class/mtd',
    eraser: given.get('--eraser') ?? 'flash_erase',
    format: keys,
  };
}

const NAMES = ['--file', '--mtd', '--tty', '--class', '--root-key', '--one-slot', '--eraser', '--sysfs', '--format'];

function flashOf(given: ReadonlyMap<string, string>): LinuxOptions['flash'] {
  const file = given.get('--file');
  const mtd = given.get('--mtd');
  if (file !== undefined && mtd === undefined) return { kind: 'file', path: file };
  if (mtd !== undefined && file === undefined) return { kind: 'mtd', path: mtd };
  throw new Error('expected --file or --mtd');
}
