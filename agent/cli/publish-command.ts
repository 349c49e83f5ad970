/** `mallorn publish`. */

import { type Command, InvalidArgumentError, Option } from 'commander';
import { MAX_TRUST_BYTES } from '../../core/limits.js';
import { MAX_SPREAD_SECONDS } from '../limits.js';
import type { PublishOptions } from '../publish.js';
import { DEFAULT_TOPIC_PREFIX } from '../topics.js';
import {
  addInPlaceFlags,
  addPatchFlags,
  type InPlaceFlags,
  inPlaceOptions,
  type PatchFlags,
  patchOptions,
} from './create-command.js';
import { UsageError } from './failure.js';
import { bytesText, table } from './output.js';
import { readSmallFile } from './read-file.js';
import { type AddCommand, withProgress } from './session.js';

interface PublishFlags extends PatchFlags, InPlaceFlags {
  readonly output: string;
  readonly baseUrl: string;
  readonly model: string;
  readonly version: string;
  readonly profile?: readonly ('gateway' | 'mcu')[];
  readonly fullImage?: true;
  readonly trust?: readonly string[];
  readonly fraction?: number;
  readonly spread?: number;
  readonly mqtt?: string;
  readonly topicPrefix: string;
  readonly device?: readonly string[];
  readonly modelTopic?: true;
  readonly child?: string;
}

export const addPublish: AddCommand = (program, open) => {
  const command = program
    .command('publish')
    .description('make the patches for every version still in the field, and the document that tells devices of them')
    .usage('OLD... TARGET -o DIR --base-url URL --model NAME --version VERSION [options]')
    .argument('<files...>', 'models of the versions in the field, and last the new one')
    .requiredOption('-o, --output <dir>', 'folder to lay out, for any HTTP server or object store')
    .requiredOption('--base-url <url>', 'address under which the folder is served; mqtt: for `mallorn streams`')
    .requiredOption('--model <name>', 'name of the model')
    .requiredOption('--version <version>', 'name of the new version')
    .option('--full-image', 'also a stand-alone patch')
    .option('--trust <file...>', 'signed trust files the document brings along, oldest first')
    .option('--fraction <number>', 'part of the devices to let in, 0 to 1; publish again with more', parseFraction)
    .option('--spread <seconds>', 'time over which their turns are spread', parseSeconds)
    .option('--mqtt <url>', 'put the document on this broker, retained; credentials stand in the URL')
    .option('--topic-prefix <prefix>', 'first part of the topics', DEFAULT_TOPIC_PREFIX)
    .option('--device <id...>', 'devices to tell')
    .option('--child <name>', 'a microcontroller behind them: patches of profile mcu, unless --profile says otherwise')
    .option('--model-topic', 'they keep several models: on the topic of this one')
    .addOption(
      new Option('--profile <name...>', 'profiles to make patches for (default: gateway)').choices(['gateway', 'mcu']),
    );
  addPatchFlags(addInPlaceFlags(command)).action(async (files: string[], flags: PublishFlags, self: Command) => {
    const session = open(self);
    const devices = flags.device ?? [];
    const onWarning = (message: string): void => session.output.warning(message);
    if ((flags.mqtt === undefined) !== (devices.length === 0)) throw new UsageError('--mqtt and --device go together');
    if (flags.modelTopic && devices.length === 0) throw new UsageError('--model-topic needs --device');
    if (flags.child !== undefined && devices.length === 0) throw new UsageError('--child needs --device');
    if (flags.child !== undefined && flags.modelTopic)
      throw new UsageError('expected --child or --model-topic, got both');
    const inPlace = inPlaceOptions(flags);
    const profiles = flags.profile ?? (flags.child === undefined ? undefined : (['mcu'] as const));
    // Loaded on demand, as is the MQTT client below: the other commands start faster without.
    const { publish } = await import('../publish.js');
    const result = await withProgress(session, async (call) =>
      publish({
        createPatch: (source, target, output, options) =>
          session.platform.library.createPatch(source, target, output, {
            ...options,
            // A whole model has no source to be written over.
            ...(source === null ? {} : inPlace),
            ...call,
            onWarning,
          }),
        model: flags.model,
        version: flags.version,
        olds: files.slice(0, -1),
        target: files[files.length - 1]!,
        outDir: flags.output,
        baseUrl: flags.baseUrl,
        ...(profiles === undefined ? {} : { profiles }),
        fullImage: flags.fullImage === true,
        trust: await readTrustFiles(flags.trust ?? []),
        ...rolloutOf(flags),
        patch: await patchOptions(session, flags),
      }),
    );
    if (flags.mqtt !== undefined) await tell(flags.mqtt, flags, devices, result.desired);
    session.output.result({ ...result, devices }, () =>
      table([
        ...result.files.map(({ path, size }): [string, string] => ['patch', `${path}, ${bytesText(size)}`]),
        ['document', result.desiredPath],
        ['target', `${bytesText(result.targetSize)}, sha256 ${result.desired.targetSha256}`],
        ['told', devices.length === 0 ? 'nobody yet' : devices.join(', ')],
      ]),
    );
  });
};

function rolloutOf({ fraction, spread }: PublishFlags): { rollout?: NonNullable<PublishOptions['rollout']> } {
  if (fraction === undefined && spread === undefined) return {};
  return { rollout: { fraction: fraction ?? 1, ...(spread === undefined ? {} : { windowSeconds: spread }) } };
}

function parseFraction(text: string): number {
  const fraction = Number(text);
  if (text.trim() !== '' && fraction >= 0 && fraction <= 1) return fraction;
  throw new InvalidArgumentError('Expected a number from 0 to 1.');
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= MAX_SPREAD_SECONDS) return seconds;
  throw new InvalidArgumentError(`Expected 1 to ${MAX_SPREAD_SECONDS} seconds.`);
}

async function readTrustFiles(paths: readonly string[]): Promise<string[]> {
  const files = await Promise.all(paths.map((path) => readSmallFile(path, MAX_TRUST_BYTES)));
  return files.map((bytes) => new TextDecoder().decode(bytes));
}

async function tell(
  url: string,
  { topicPrefix, modelTopic, model, child }: PublishFlags,
  devices: readonly string[],
  document: unknown,
): Promise<void> {
  const { publishDesired } = await import('../publish-desired.js');
  await publishDesired({
    url,
    topicPrefix,
    devices,
    document,
    ...(modelTopic ? { model } : {}),
    ...(child === undefined ? {} : { child }),
  });
}
