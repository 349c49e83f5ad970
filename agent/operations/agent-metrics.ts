/** What this agent counts, and how it looks to Prometheus. Counters begin at 0 with the process, as Prometheus expects. */

import type { Metric, MetricType, Sample } from './metrics-text.js';
import type { OperatedAgent, UnitStatus } from './operated.js';
import { type HistoryEntry, OUTCOMES } from './update-history.js';

export class AgentMetrics {
  private readonly downloads = new Map<string, number>();
  private readonly counts = new Map<string, { outcomes: Record<string, number>; seconds: number; ended: number }>();

  downloaded(model: string, bytes: number): void {
    this.downloads.set(model, (this.downloads.get(model) ?? 0) + bytes);
  }

  ended({ model, outcome, startedAtMs, endedAtMs }: HistoryEntry): void {
    const counts = this.countsOf(model);
    counts.outcomes[outcome] = (counts.outcomes[outcome] ?? 0) + 1;
    counts.ended++;
    // A clock that was set back in between.
    counts.seconds += Math.max(0, endedAtMs - startedAtMs) / 1000;
  }

  collect(agent: OperatedAgent): Metric[] {
    const { device, agentVersion, startedAt, connection, models } = agent.status();
    const of = (sample: (unit: UnitStatus) => Sample | readonly Sample[]): Sample[] => models.flatMap(sample);
    const { rss } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    return [
      metric('mallorn_agent_info', 'gauge', 'Version of the agent; always 1.', [
        { labels: { device, version: agentVersion }, value: 1 },
      ]),
      metric('mallorn_mqtt_connected', 'gauge', 'Whether the broker knows this device as ready.', [
        { value: Number(connection.connected) },
      ]),
      metric('mallorn_mqtt_reconnects_total', 'counter', 'Connections to the broker that were lost or not made.', [
        { value: connection.reconnects },
      ]),
      metric(
        'mallorn_model_info',
        'gauge',
        'The installed model; always 1.',
        of(({ model, installed_version, sha256 }) => ({
          labels: { model, version: installed_version ?? '', sha256: sha256 ?? '' },
          value: 1,
        })),
      ),
      metric(
        'mallorn_model_status',
        'gauge',
        'What the agent is doing about the model, as in the reported document; 1 for the one that holds.',
        of(({ model, status }) => ({ labels: { model, status }, value: 1 })),
      ),
      metric(
        'mallorn_model_on_trial',
        'gauge',
        'Whether the installed model still has to show that it is good.',
        of(({ model, trial }) => ({ labels: { model }, value: Number(trial !== null) })),
      ),
      metric(
        'mallorn_update_progress_percent',
        'gauge',
        'Of the update under way; absent where there is none.',
        of(({ model, progress }) => (progress === null ? [] : { labels: { model }, value: progress })),
      ),
      metric(
        'mallorn_updates_total',
        'counter',
        'Updates that are over.',
        of(({ model }) =>
          OUTCOMES.map((outcome) => ({
            labels: { model, outcome },
            value: this.countsOf(model).outcomes[outcome] ?? 0,
          })),
        ),
      ),
      metric(
        'mallorn_download_bytes_total',
        'counter',
        'Body bytes of patches and models that came over the network.',
        of(({ model }) => ({ labels: { model }, value: this.downloads.get(model) ?? 0 })),
      ),
      metric(
        'mallorn_update_duration_seconds',
        'summary',
        'From the first download of an update to its end.',
        of(({ model }) => [
          { suffix: '_sum', labels: { model }, value: this.countsOf(model).seconds },
          { suffix: '_count', labels: { model }, value: this.countsOf(model).ended },
        ]),
      ),
      metric('process_resident_memory_bytes', 'gauge', 'Resident memory of the agent.', [{ value: rss }]),
      metric('process_cpu_seconds_total', 'counter', 'CPU time of the agent.', [{ value: (user + system) / 1e6 }]),
      metric('process_start_time_seconds', 'gauge', 'Start of the agent since 1970.', [
        { value: Date.parse(startedAt) / 1000 },
      ]),
    ];
  }

  private countsOf(model: string): { outcomes: Record<string, number>; seconds: number; ended: number } {
    const counts = this.counts.get(model) ?? { outcomes: {}, seconds: 0, ended: 0 };
    this.counts.set(model, counts);
    return counts;
  }
}

function metric(name: string, type: MetricType, help: string, samples: readonly Sample[]): Metric {
  return { name, type, help, samples };
}
