import type { MqttClient } from 'mqtt';

const ORDERLY_END_MS = 2000;

/**
 * Ends a connection, with a DISCONNECT where the broker still acknowledges: without one it publishes the will. The library waits for
 * acknowledgements for ever, and one that is ended while it repeats what a lost connection left never asks for them again.
 */
export async function endClient(client: MqttClient, orderly = client.connected): Promise<void> {
  if (!orderly) return client.endAsync(true);
  const timer = setTimeout(() => client.stream.destroy(), ORDERLY_END_MS);
  const closed = new Promise<void>((resolve) => client.once('close', resolve));
  await Promise.race([client.endAsync(), closed]);
  clearTimeout(timer);
}
