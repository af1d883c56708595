// Every claim about the web UI, in the order in which a first day goes.
import { finish } from "./lib.mjs";

for (const part of ["door", "holds", "evidence", "replay", "looks", "attacks"]) {
  await import(`./claims/${part}.mjs`);
}
finish();
