/**
 * Whom a job is for, as orders and records name it: `DEVICE`, or `DEVICE/CHILD` for a microcontroller behind one. Either has jobs of
 * its own, one at a time, on the same topics under another root.
 */
import { isTopicLevel } from '../topics.js';
import { childJobRoot, mallornJobRoot } from './job-messages.js';

export interface JobRequest {
  readonly target: string;
  /** Or `$next`. */
  readonly jobId: string;
  /** `get` or `update`. */
  readonly what: string;
}

export function childTarget(device: string, child: string): string {
  return `${device}/${child}`;
}

export function isJobTarget(text: string): boolean {
  const levels = text.split('/');
  return levels.length <= 2 && levels.every(isTopicLevel);
}

export function jobRootOf(prefix: string, target: string): string {
  const [device = '', child] = target.split('/');
  return child === undefined ? mallornJobRoot(prefix, device) : childJobRoot(prefix, device, child);
}

/** Topic filters of all that devices and children may ask. */
export function requestFilters(prefix: string): string[] {
  const roots = [mallornJobRoot(prefix, '+'), childJobRoot(prefix, '+', '+')];
  return roots.flatMap((root) => [`${root}/+/get`, `${root}/+/update`]);
}

/** `topic` is one that the filters let through. */
export function requestOf(prefix: string, topic: string): JobRequest {
  const levels = topic.slice(prefix.length + 1).split('/');
  const [device = '', , child = ''] = levels;
  const [jobId = '', what = ''] = levels.slice(-2);
  return { target: levels.length === 4 ? device : childTarget(device, child), jobId, what };
}
