/**
 * The agent's end of the control socket: for people at the device, with the rights of the agent's user or root (mode 0600).
 * The state folder's lock must be held: that is what makes a socket file found there nobody's.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Log } from '../log.js';
import { CONTROL_TIMEOUT_MS, socketPathProblem } from './control-messages.js';
import { ControlSession } from './control-session.js';
import type { OperatedAgent } from './operated.js';

const MAX_CONNECTIONS = 8;

export class ControlServer {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.server = server;
  }

  /** @throws Error saying why the socket cannot be made */
  static async open(path: string, agent: OperatedAgent, log: Log): Promise<ControlServer> {
    const problem = socketPathProblem(path);
    if (problem !== null) throw new Error(problem);
    removeStale(path);
    const server = createServer();
    const control = new ControlServer(server);
    server.maxConnections = MAX_CONNECTIONS;
    server.on('connection', (socket) => control.serve(socket, agent, log));
    await listen(server, path);
    return control;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    // Takes the file away too.
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private serve(socket: Socket, agent: OperatedAgent, log: Log): void {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    // A caller that has gone needs no answer.
    socket.on('error', () => socket.destroy());
    socket.setTimeout(CONTROL_TIMEOUT_MS, () => socket.destroy());
    const session = new ControlSession(agent, log);
    socket.on('data', (chunk: Buffer) => {
      const answer = session.take(chunk);
      if (answer === null) return;
      socket.removeAllListeners('data');
      socket.end(`${JSON.stringify(answer)}\n`);
    });
  }
}

function removeStale(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`expected a socket or nothing at ${path}, got something else`);
  unlinkSync(path);
}

/** Made without rights for others, so that there is no moment in which they have any. */
function listen(server: Server, path: string): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const before = process.umask(0o177);
    try {
      // Node binds before this returns.
      server.listen(path, () => {
        server.off('error', reject);
        server.on('error', () => {});
        resolve();
      });
    } finally {
      process.umask(before);
    }
  }).then(() => chmodSync(path, 0o600));
}
