/**
 * How Home Assistant learns of a unit: one retained discovery document for its MQTT update entity
 * (https://www.home-assistant.io/integrations/update.mqtt). The entity reads what the agent says anyway.
 */
import { createHash } from 'node:crypto';

export interface DiscoveryOptions {
  /** Home Assistant's discovery prefix. */
  readonly prefix: string;
  readonly device: string;
  readonly model: string;
  readonly agentVersion: string;
  readonly topics: { readonly reported: string; readonly state: string; readonly install: string };
}

export interface Discovery {
  readonly topic: string;
  readonly document: Readonly<Record<string, unknown>>;
}

export const INSTALL_PAYLOAD = 'install';

/**
 * Home Assistant takes these fields of a state alone. It has no word for "nothing is wished": the latest version is then the
 * installed one, and that of a model which somebody else installed the beginning of its hash.
 */
const STATE_TEMPLATE =
  "{% set installed = value_json.installed_version or (value_json.sha256 or '')[:12] %}" +
  "{{ {'installed_version': installed, 'latest_version': value_json.latest_version or installed, " +
  "'in_progress': value_json.status in ['choosing', 'downloading', 'activating', 'testing', 'rolling_back'], " +
  "'update_percentage': value_json.progress} | to_json }}";

const AVAILABILITY_TEMPLATE = "{{ 'online' if value_json.state == 'ready' else 'offline' }}";

export function discoveryOf({ prefix, device, model, agentVersion, topics }: DiscoveryOptions): Discovery {
  const id = `mallorn_${idOf(device)}_${idOf(model)}`;
  return {
    topic: `${prefix}/update/${id}/config`,
    document: {
      name: `Model ${model}`,
      unique_id: id,
      title: model,
      state_topic: topics.reported,
      value_template: STATE_TEMPLATE,
      json_attributes_topic: topics.reported,
      availability: [{ topic: topics.state, value_template: AVAILABILITY_TEMPLATE }],
      command_topic: topics.install,
      payload_install: INSTALL_PAYLOAD,
      qos: 1,
      entity_category: 'config',
      device: {
        identifiers: [`mallorn_${idOf(device)}`],
        name: device,
        manufacturer: 'Mallorn',
        model: 'Gateway agent',
        sw_version: agentVersion,
      },
      origin: { name: 'Mallorn', sw_version: agentVersion },
    },
  };
}

/** Ids are of these characters alone; a digest keeps two names apart that would look the same. */
function idOf(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9_-]/g, '_');
  return plain === name ? plain : `${plain}_${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
}
