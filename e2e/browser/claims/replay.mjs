// A session is shown as its client saw it.
import { claim, contains, equal, expect, loginByLink, psql, run, scene, shot, start, until, visitor } from "../lib.mjs";

let session = "";
async function newest(page, target) {
  return until(async () => {
    await page.goto(`${scene.ui}/ui/sessions?target=${target}`);
    const link = page.locator("table.list tbody tr a").first();
    return (await link.count()) ? link.getAttribute("href") : null;
  }, `a session on ${target}`);
}

await claim("replay: statements with their masked results, and what could not be shown is counted", async () => {
  await psql("SELECT id, name, ssn FROM customers ORDER BY id LIMIT 60", "SELECT pg_sleep(4)", "SELECT id, body FROM notes ORDER BY id", "DELETE FROM customers").done;
  const page = await visitor();
  await loginByLink(page);
  await until(async () => {
    session = await newest(page, "db");
    await page.goto(scene.ui + session);
    return (await page.locator(".step pre.sql").count()) >= 4;
  }, "the session's statements");
  const first = page.locator(".step", { hasText: "SELECT id, name, ssn" });
  contains(await first.textContent(), "10 more rows recorded");
  equal(await first.locator("th.masked").allTextContents(), ["ssn"]);
  expect(/^\W+\d{4}$/.test(await first.locator("td.masked").first().textContent()), "the mask");
  contains(await page.textContent(".steps"), "denied");
  const notes = page.locator(".step", { hasText: "FROM notes" });
  contains(await notes.textContent(), "<img src=x onerror=alert(1)>");
  contains(await notes.textContent(), "ESC[2JBELbell");
  contains(await notes.textContent(), "NULL");
  await shot(page, "replay", true);
});

await claim("replay: plays, stops, seeks, and a link leads to a moment", async () => {
  const page = await visitor();
  await loginByLink(page);
  await page.goto(scene.ui + session);
  await page.selectOption("#speed", "1");
  await page.uncheck("#skip");
  await page.click("#play");
  await page.waitForSelector(".step.later");
  await page.waitForSelector(".step.now");
  const clock = () => page.textContent("#clock");
  const at = await clock();
  await until(async () => (await clock()) !== at, "the clock runs");
  await shot(page, "replay-playing");
  await page.click("#play");
  await page.locator("#seek").evaluate((seek) => { seek.value = seek.max; seek.dispatchEvent(new Event("input")); });
  equal(await page.locator(".step.later").count(), 0, "at the end nothing is to come");
  await page.goto(`${scene.ui}${session}#t=0.5`);
  await page.reload();
  await page.waitForSelector(".step.now");
  contains(await clock(), "0:00.5");
  contains(await page.textContent(".step.now"), "pg_sleep");
});

await claim("replay: a shell in a terminal, played from its recording", async () => {
  const options = ["-p", String(scene.ssh.port), "-o", `UserKnownHostsFile=${scene.ssh.known}`, "-o", "StrictHostKeyChecking=yes", "-o", "PreferredAuthentications=none,password,keyboard-interactive,publickey"];
  const shell = start(["ssh", ...options, "-tt", `${scene.ssh.user}@127.0.0.1`], {});
  shell.child.stdin.write("echo hello from a shell\n");
  await until(() => shell.heard().split("hello from a shell").length > 2, "the shell answers");
  shell.child.stdin.write("exit\n");
  await shell.done;
  await run(["ssh", ...options, `${scene.ssh.user}@127.0.0.1`, "echo to-out; echo to-err >&2; exit 3"]);
  const page = await visitor();
  await loginByLink(page);
  await until(async () => {
    await page.goto(`${scene.ui}/ui/sessions?target=host`);
    return (await page.locator("table.list tbody tr").count()) >= 2;
  }, "both sessions");
  const links = await page.locator("table.list tbody tr a").evaluateAll((all) => all.map((a) => a.getAttribute("href")));
  await until(async () => {
    await page.goto(scene.ui + links[1]);
    return page.locator(".terminal").count();
  }, "the shell's terminal");
  await page.waitForSelector(".terminal .ap-player");
  await page.locator("#seek").evaluate((seek) => { seek.value = seek.max; seek.dispatchEvent(new Event("input")); });
  await until(async () => (await page.textContent(".terminal")).includes("hello from a shell"), "the terminal shows what was typed");
  await shot(page, "replay-shell", true);
  await until(async () => {
    await page.goto(scene.ui + links[0]);
    return (await page.textContent(".steps")).includes("exit 3");
  }, "the command's end");
  contains(await page.textContent(".steps"), "to-out");
  contains(await page.textContent(".steps"), "to-err");
});
