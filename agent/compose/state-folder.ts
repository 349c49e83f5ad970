/** The agent's own folder, for one agent at a time: what two wrote there would be neither's. */
import { FolderBusy, FolderLock } from '../../targets/node/folder-lock.js';
import type { Log } from '../log.js';
import { makeFolder } from '../make-folder.js';
import { messageOf } from '../message-of.js';

/** Null where the medium takes no lock: the agent then keeps nothing, and updates all the same. @throws FolderBusy */
export async function lockStateFolder(folder: string, log: Log): Promise<FolderLock | null> {
  try {
    await makeFolder(folder);
    return FolderLock.acquire(folder);
  } catch (error) {
    if (error instanceof FolderBusy) throw error;
    log('error', 'cannot lock the state folder', { error: messageOf(error) });
    return null;
  }
}
