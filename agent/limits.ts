/** What anybody on the network may make this agent hold or do. Sizes of models and patches are the configuration's to limit. */

/** Of the `desired` document, before it is parsed; the MQTT client drops larger packets. */
export const MAX_DESIRED_BYTES = 128 * 1024;
export const MAX_DESIRED_PATCHES = 256;
export const MAX_URL_LENGTH = 2048;
/** Trust files in one document: rotations a device may have missed. */
export const MAX_TRUST_CHAIN = 16;
/** Rotations since the pinned trust file; after that a device needs a newer one. */
export const MAX_KEPT_TRUST = 256;
export const MAX_REDIRECTS = 3;
/** Over which a rollout may spread its devices: a week, and what a timer can wait. */
export const MAX_SPREAD_SECONDS = 7 * 24 * 3600;
export const MAX_CONSENT_BYTES = 4096;
/** Consents kept for targets that are not installed yet. */
export const MAX_CONSENTS = 4;

/** Of the job protocol's messages: envelope and document together. */
export const MAX_JOB_MESSAGE_BYTES = MAX_DESIRED_BYTES + 8192;
export const MAX_DETAILS = 10;
/** AWS takes 1,024 characters a value. */
export const MAX_DETAIL_LENGTH = 1024;

/** Of patch bytes over MQTT (docs/agent.md). Brokers often take no packet of more than 128 KiB. */
export const MAX_STREAM_BLOCK_BYTES = 65_536;
export const MIN_STREAM_BLOCK_BYTES = 128;
/** On their way to one update at once. */
export const STREAM_WINDOW_BLOCKS = 4;
/** That a server holds at once, over all its devices. */
export const MAX_SERVED_BLOCKS = 256;

/** That one agent keeps: each may hold an apply thread with its buffers. */
export const MAX_MODELS = 16;
export const MAX_CHILDREN = 64;
