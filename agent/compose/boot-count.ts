/** How often this agent has started. */
import type { StateFile } from '../json-file.js';
import type { Log } from '../log.js';
import { messageOf } from '../message-of.js';

/** A disk that is full must not keep the agent from saying so: the number is then only used twice. */
export async function countBoot(file: StateFile, log: Log): Promise<number> {
  const saved = (await file.load()) as { boots?: unknown } | undefined;
  const boots = (Number.isSafeInteger(saved?.boots) ? (saved?.boots as number) : 0) + 1;
  try {
    await file.save({ boots });
  } catch (error) {
    log('error', 'cannot count this start', { error: messageOf(error) });
  }
  return boots;
}
