/** The apply thread of agents under test: no test file, which would make its models again in every thread. */

import { serveApplyWorker } from '../../agent/compose/apply-role.js';

serveApplyWorker();
