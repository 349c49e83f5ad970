/** Answers `GET /metrics` on loopback, for a Prometheus or an agent of its kind on the same machine. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { METRICS_CONTENT_TYPE, type Metric, metricsText } from './metrics-text.js';

const LOOPBACK = '127.0.0.1';
const MAX_CONNECTIONS = 16;
const TIMEOUT_MS = 10_000;

export class MetricsServer {
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  /** Port 0 lets the system choose. @throws what listening fails with */
  static async open(port: number, collect: () => readonly Metric[]): Promise<MetricsServer> {
    const server = createServer({ requestTimeout: TIMEOUT_MS, headersTimeout: TIMEOUT_MS }, (request, response) => {
      if (request.url?.split('?')[0] !== '/metrics') response.writeHead(404).end();
      else if (request.method !== 'GET' && request.method !== 'HEAD') response.writeHead(405).end();
      else response.writeHead(200, { 'content-type': METRICS_CONTENT_TYPE }).end(metricsText(collect()));
    });
    server.maxConnections = MAX_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, LOOPBACK, resolve);
    });
    return new MetricsServer(server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
