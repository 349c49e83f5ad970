/** The job protocol's place in an agent: its client on the link, and the units it gives work to. */
import { join } from 'node:path';
import type { AgentConfig, ChildConfig } from '../config.js';
import { JobClient } from '../jobs/job-client.js';
import { awsJobRoot, childJobRoot, jobTopics, mallornJobRoot } from '../jobs/job-messages.js';
import { JobRouter, type JobUnit } from '../jobs/job-router.js';
import { JsonFile } from '../json-file.js';
import type { Log } from '../log.js';
import type { LinkChannel, MqttLink } from '../mqtt-link.js';

export interface Jobs {
  readonly client: JobClient;
  readonly router: JobRouter;
  readonly channel: LinkChannel;
}

export interface JobsOptions {
  readonly config: AgentConfig;
  /** Whose jobs; absent: the agent's own. A child has one at a time, whatever is done elsewhere. */
  readonly child?: ChildConfig;
  readonly bootCount: number;
  /** Asked when they are needed: neither is there yet when jobs are opened. */
  readonly units: () => readonly JobUnit[];
  readonly link: () => MqttLink | null;
  readonly log: Log;
}

/** Null where wishes come as retained documents. */
export async function openJobs(options: JobsOptions): Promise<Jobs | null> {
  const { config, child, bootCount, units, link, log } = options;
  const { protocol, stateFolder } = config;
  if (protocol === 'desired') return null;
  const isAws = protocol === 'aws-iot-jobs';
  const topics = jobTopics(rootOf(config, child));
  const router = new JobRouter(units);
  const client = await JobClient.load({
    topics,
    file: new JsonFile(join(stateFolder, child === undefined ? 'jobs.json' : `jobs-child-${child.name}.json`)),
    bootCount,
    send: (topic, document, qos) => link()?.send(topic, document, qos),
    work: router,
    tellsProgress: !isAws,
    log,
  });
  const channel: LinkChannel = {
    root: topics.root,
    filters: topics.filters,
    connected: () => client.connected(),
    disconnected: () => client.disconnected(),
    receive: (topic, payload) => client.receive(topic, payload),
  };
  return { client, router, channel };
}

function rootOf({ protocol, device, topicPrefix }: AgentConfig, child: ChildConfig | undefined): string {
  if (protocol === 'aws-iot-jobs') return awsJobRoot(child === undefined ? device : (child.thing ?? ''));
  return child === undefined ? mallornJobRoot(topicPrefix, device) : childJobRoot(topicPrefix, device, child.name);
}
