/** Patch bytes over the agent's own connection: where its units ask for them. */
import type { AgentConfig } from '../config.js';
import type { MqttLink } from '../mqtt-link.js';
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
