/** The device program for `qjs`: dist/mallorn-linux.qjs.mjs, see docs/linux-devices.md. */
import { serve } from './linux-host.js';
import './board.main.js';

serve();
