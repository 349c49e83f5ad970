/** Children that come and go while something is to be done with them, and others that come in their place. */

import type { Case } from './run-cases.js';

export const CHILD_EXCHANGE_CASES: readonly Case[] = [];
