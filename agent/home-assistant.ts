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
  /** `state`: of the agent's own device. */
  readonly topics: { readonly reported: string; readonly state: string; readonly install: string };
  /** Where the model is on a microcontroller behind the device: its name, and the topic of its own `$state`. */
  readonly child?: { readonly name: string; readonly state: string };
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
  "'in_progress': value_json.status in ['downloading', 'activating', 'testing', 'rolling_back'], " +
  "'update_percentage': value_json.progress} | to_json }}";

/** Attributes take the place of the entity's own of the same name: what its state template gives is left out of them. */
const ATTRIBUTES_TEMPLATE =
  "{{ dict(value_json.items() | rejectattr(0, 'in', ['installed_version', 'latest_version'])) | to_json }}";

const AVAILABILITY_TEMPLATE = "{{ 'online' if value_json.state == 'ready' else 'offline' }}";

export function discoveryOf({ prefix, device, model, agentVersion, topics, child }: DiscoveryOptions): Discovery {
  const gateway = `mallorn_${idOf(device)}`;
  // A level of its own in the topic, a character in the id that no name leaves there: a child is never taken for a model.
  const id = child === undefined ? `${gateway}_${idOf(model)}` : `${gateway}/${idOf(child.name)}`;
  return {
    topic: `${prefix}/update/${id}/config`,
    document: {
      name: `Model ${model}`,
      unique_id: id,
      title: model,
      state_topic: topics.reported,
      value_template: STATE_TEMPLATE,
      json_attributes_topic: topics.reported,
      json_attributes_template: ATTRIBUTES_TEMPLATE,
      // A gateway that is lost has lost its children too, whatever their own topics say.
      availability_mode: 'all',
      availability: [topics.state, ...(child === undefined ? [] : [child.state])].map((topic) => ({
        topic,
        value_template: AVAILABILITY_TEMPLATE,
      })),
      command_topic: topics.install,
      payload_install: INSTALL_PAYLOAD,
      qos: 1,
      entity_category: 'config',
      device:
        child === undefined
          ? {
              identifiers: [gateway],
              name: device,
              manufacturer: 'Mallorn',
              model: 'Gateway agent',
              sw_version: agentVersion,
            }
          : {
              identifiers: [id],
              name: child.name,
              manufacturer: 'Mallorn',
              model: 'Microcontroller',
              via_device: gateway,
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
