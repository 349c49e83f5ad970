/** The file that the library's worker threads run. */

import { serveCalls } from './serve-calls.js';

serveCalls();
