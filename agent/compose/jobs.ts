/** The job protocol's place in an agent: its client on the link, and the units it gives work to. */
import { join } from 'node:path';
import type { AgentConfig } from '../config.js';
import { JobClient } from '../jobs/job-client.js';
import { awsJobRoot, jobTopics, mallornJobRoot } from '../jobs/job-messages.js';
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
  readonly bootCount: number;
  /** Asked when they are needed: neither is there yet when jobs are opened. */
  readonly units: () => readonly JobUnit[];
  readonly link: () => MqttLink | null;
  readonly log: Log;
}

/** Null where wishes come as retained documents. */
export async function openJobs({ config, bootCount, units, link, log }: JobsOptions): Promise<Jobs | null> {
  const { protocol, device, topicPrefix, stateFolder } = config;
  if (protocol === 'desired') return null;
  const isAws = protocol === 'aws-iot-jobs';
  const topics = jobTopics(isAws ? awsJobRoot(device) : mallornJobRoot(topicPrefix, device));
  const router = new JobRouter(units);
  const client = await JobClient.load({
    topics,
    file: new JsonFile(join(stateFolder, 'jobs.json')),
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
