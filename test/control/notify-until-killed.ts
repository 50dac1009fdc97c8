/** Delivers the outbox of the store at the path given until it is killed. */
import { Agent } from "undici";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { createDriver } from "../../src/control/driver.ts";
import { createNotifications } from "../../src/control/notification/reconcile.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";

const store = openSqliteStore({ path: process.argv[2] as string, clock: systemClock });
const common = { clock: systemClock, random: systemRandom };
const notifications = createNotifications({ store, dispatcher: new Agent(), ...common });
createDriver({ reconcilers: [notifications], ...common }).start();
