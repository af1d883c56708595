// Logging in and out.
import { claim, contains, equal, expect, inside, link, login, loginByLink, raw, scene, shot, throughProvider, visitor } from "../lib.mjs";

await claim("login: whoever is not logged in sees the door, and is led back to where they went", async () => {
  const page = await visitor();
  await page.goto(`${scene.ui}/ui/sessions?within=24h`);
  expect(page.url().includes("/ui/login?next="), page.url());
  await shot(page, "door");
  await page.click("text=Log in with");
  await throughProvider(page, "jane");
  await page.waitForURL(`${scene.ui}/ui/sessions?within=24h`);
  contains(await page.textContent(".who"), "jane@corp.example");
  await shot(page, "sessions-first");
});

await claim("login: a one-time link logs the machine's user in, once", async () => {
  const page = await visitor();
  const once = await link();
  await page.goto(once);
  await shot(page, "once");
  contains(await page.textContent("main"), "logs you in as root");
  await page.click("button:has-text('Log in as')");
  await inside(page);
  contains(await page.textContent(".who"), "root");
  const other = await visitor();
  await other.goto(once);
  contains(await other.textContent("main"), "was used before");
});

await claim("login: the link that is printed at the start works", async () => {
  const { readFileSync } = await import("node:fs");
  const found = /weir: open (\S+)/.exec(readFileSync(scene.log, "utf8"));
  expect(found, "no link in the log");
  const page = await visitor();
  await page.goto(found[1]);
  await page.click("button:has-text('Log in as')");
  await page.waitForURL(`${scene.ui}/ui/holds`);
});

await claim("login: a person of no group of auditors sees holds and no evidence", async () => {
  const page = await visitor();
  await login(page, "tom");
  equal(await page.locator("nav[aria-label=Pages] a").allTextContents(), ["Holds"]);
  const answer = await page.goto(`${scene.ui}/ui/search?text=ssn`);
  equal(answer.status(), 403);
  contains(await page.textContent("main"), "no group that may read evidence");
});

await claim("logout: ends the session on the server, whatever cookie is shown afterwards", async () => {
  const page = await visitor();
  await loginByLink(page);
  const [cookie] = (await page.context().cookies()).filter(({ name }) => name === "weir");
  await page.click("button:has-text('Log out')");
  await page.waitForURL(`${scene.ui}/ui/login**`);
  contains(await page.textContent("main"), "logged out");
  const again = await raw("GET", "/ui/holds", { headers: { cookie: `weir=${cookie.value}` } });
  equal(again.status, 303);
  contains(again.headers.location, "/ui/login");
});

await claim("login: works without JavaScript", async () => {
  const page = await visitor({ script: false });
  await loginByLink(page);
  await page.goto(`${scene.ui}/ui/holds`);
  contains(await page.textContent("main"), "Nothing waits");
});
