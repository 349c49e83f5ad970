/** Patch bytes over the agent's own connection: where its units ask for them, and what they share the link with. */
import type { AgentConfig } from '../config.js';
import type { JobChannel, MqttLink } from '../mqtt-link.js';
import { StreamHub } from '../streams/stream-hub.js';
import { streamRoot } from '../streams/stream-messages.js';

/** Null where the configuration does not allow it. */
export function openStreams(config: AgentConfig, link: () => MqttLink | null): StreamHub | null {
  const { device, topicPrefix, mqtt } = config;
  if (mqtt.streams === undefined) return null;
  return new StreamHub({
    root: streamRoot(topicPrefix, device),
    blockBytes: mqtt.streams.blockBytes,
    send: (topic, document, qos) => link()?.send(topic, document, qos),
  });
}

/** One channel for what jobs and streams say; each hears its own topics alone. */
export function besideStreams(jobs: JobChannel | undefined, streams: StreamHub | null): JobChannel | undefined {
  if (streams === null || jobs === undefined) return streams?.channel ?? jobs;
  const both = [jobs, streams.channel];
  return {
    filters: both.flatMap(({ filters }) => filters),
    connected: () => {
      for (const channel of both) channel.connected();
    },
    disconnected: () => {
      for (const channel of both) channel.disconnected();
    },
    receive: (topic, payload) => (streams.owns(topic) ? streams.channel : jobs).receive(topic, payload),
  };
}
