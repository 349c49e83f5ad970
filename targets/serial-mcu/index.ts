/** Microcontrollers on serial lines, as a gateway sees them. */

export { type ByteLink, DeviceSilent, LinkLost, realTimers, type Timers } from './byte-link.js';
export { type DeltaInfo, deltaInfo } from './delta-info.js';
export { type DeltaStep, DeltaStream } from './delta-stream.js';
export { DeltaUpdate } from './delta-update.js';
export {
  activateStaged,
  type DeviceDescription,
  describe,
  endTrial,
  type FlashOptions,
  type FlashResult,
  flash,
  methodsOf,
} from './flash.js';
export { type PersistentOptions, persistently } from './persistent.js';
export { asMallornError, Refused } from './refused.js';
export { type KeysResult, sendKeyRecord } from './send-key-record.js';
export { DEFAULT_BAUD, listPorts, openPort, type PortInfo, SocketLink } from './serial-port.js';
export { type Answer, type Framing, SmpClient } from './smp-client.js';
