/** The topics of one device (research/protocols.md), in one place so that the agent and a publisher cannot disagree. */

/** MQTT allows 65,535 bytes; brokers often allow less, and no fleet needs a prefix longer than this. */
export const MAX_PREFIX_LENGTH = 512;

export const DEFAULT_TOPIC_PREFIX = 'mallorn/v1';

/** One level of a topic (MQTT 5, 4.7): no separator, no wildcard, no NUL, and a leading $ is the broker's own. */
export function isTopicLevel(text: string): boolean {
  return text !== '' && !/[/+#\0]/.test(text) && !text.startsWith('$');
}

/** Where one updatable thing is told what to be, and says what it is. */
export interface UnitTopics {
  readonly desired: string;
  readonly reported: string;
}

export interface DeviceTopics extends UnitTopics {
  readonly state: string;
  readonly birth: string;
  readonly rebirth: string;
  readonly consent: string;
}

export function deviceTopics(prefix: string, device: string): DeviceTopics {
  const root = `${prefix}/${device}`;
  return {
    state: `${root}/$state`,
    birth: `${root}/birth`,
    desired: `${root}/desired`,
    reported: `${root}/reported`,
    rebirth: `${root}/cmd/rebirth`,
    consent: `${root}/cmd/consent`,
  };
}

/** Where Home Assistant's button ends up; `model` is null on a device that keeps only one. */
export function installTopic(prefix: string, device: string, model: string | null): string {
  return `${prefix}/${device}/cmd/install${model === null ? '' : `/${model}`}`;
}

export interface ChildTopics extends UnitTopics {
  readonly state: string;
}

/** Of a microcontroller behind a device: under the device's own, so that one rule of an ACL covers them. */
export function childTopics(prefix: string, device: string, child: string): ChildTopics {
  const root = `${prefix}/${device}/children/${child}`;
  return { state: `${root}/$state`, desired: `${root}/desired`, reported: `${root}/reported` };
}

/** Where Home Assistant's button for its model ends up. */
export function childInstallTopic(prefix: string, device: string, child: string): string {
  return `${prefix}/${device}/children/${child}/cmd/install`;
}

/** Of one model of a device that keeps several. */
export function modelTopics(prefix: string, device: string, model: string): UnitTopics {
  const { desired, reported } = deviceTopics(prefix, device);
  return { desired: `${desired}/${model}`, reported: `${reported}/${model}` };
}
