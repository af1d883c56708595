// A reviewer's day: a hold appears by itself, is understood, and is decided by one click.
import { claim, contains, equal, expect, login, loginByLink, opens, psql, psqlReads, scene, shot, until, visitor, waiting } from "../lib.mjs";

const EXPORT = "SELECT id, body, total FROM orders WHERE total > 1 ORDER BY id";

await claim("holds: one appears by itself, is read in one look, approved by one click, and psql finishes", async () => {
  const page = await visitor();
  await login(page, "jane", "/ui/holds");
  contains(await page.textContent("main"), "Nothing waits");
  await shot(page, "holds-none");
  const client = psql(EXPORT);
  await page.waitForSelector("#list .cards:not(.over) a.card >> text=reporter");
  expect((await page.title()).startsWith("(1)"), await page.title());
  await opens(page, "FROM orders");
  const summary = await page.textContent("#hold-title");
  contains(summary, "reporter");
  contains(await page.textContent("pre.whole"), EXPORT);
  contains(await page.textContent("article.hold"), "10,000 rows");
  await shot(page, "hold", true);
  await page.click("#approve");
  await page.waitForSelector(".notice.good");
  contains(await page.textContent(".notice"), "Approved");
  await shot(page, "hold-approved", true);
  const done = await client.done;
  equal(done.code, 0, done.err);
  equal(done.out.trim().split("\n").length, 49899, "rows");
});

await claim("holds: denied with a reason, which the client is told", async () => {
  const page = await visitor();
  await loginByLink(page);
  const client = psql("SELECT secret FROM vault WHERE id = 1 AND 2 = 2");
  await opens(page, "2 = 2");
  expect(!(await page.locator("#reason").evaluate((field) => field.checkValidity())), "a denial needs a reason");
  await page.fill("#reason", "not without a ticket");
  await page.click("button:has-text('Deny')");
  await page.waitForSelector(".notice.good");
  const done = await client.done;
  expect(done.code !== 0, "psql was let through");
  contains(done.err, "not without a ticket");
  contains(await page.textContent("article.hold"), "not without a ticket");
});

await claim("holds: whoever is in no group that may approve is told why, and has no button", async () => {
  const page = await visitor();
  await login(page, "tom", "/ui/holds");
  const client = psql("SELECT secret FROM vault WHERE id = 1 AND 3 = 3");
  await opens(page, "3 = 3");
  contains(await page.textContent("#state"), "You cannot decide");
  expect(!(await page.locator("#approve").isVisible()), "the button is there");
  await shot(page, "hold-not-mine");
  client.child.kill();
  await page.waitForSelector("#state .badge:has-text('withdrawn')");
});

await claim("holds: the page of one changes when somebody else decides it", async () => {
  const [mine, theirs] = [await visitor(), await visitor()];
  await login(mine, "jane", "/ui/holds");
  await loginByLink(theirs);
  const client = psql("SELECT secret FROM vault WHERE id = 1 AND 4 = 4");
  for (const page of [mine, theirs]) {
    await opens(page, "4 = 4");
    await page.waitForSelector("#approve");
  }
  await theirs.click("#approve");
  await mine.waitForSelector("#state .badge:has-text('approved')");
  expect(!(await mine.locator("#approve").isVisible()), "the button stays");
  contains(await mine.textContent("#state"), "root");
  equal((await client.done).out.trim(), "opened");
});

await claim("holds: what changed before the page was listening is shown as soon as it listens", async () => {
  const page = await visitor();
  await loginByLink(page);
  const client = psql("SELECT secret FROM vault WHERE id = 1 AND 6 = 6");
  await until(async () => (await waiting()).length === 1, "it waits");
  let listens;
  const late = new Promise((resolve) => { listens = resolve; });
  await page.route("**/ui/hold/live", async (route) => { await late; await route.continue(); });
  await page.goto(`${scene.ui}/ui/holds`);
  await opens(page, "6 = 6");
  await page.waitForSelector("#approve");
  client.child.kill();
  await until(async () => (await waiting()).length === 0, "it is withdrawn");
  equal(await page.textContent("#state .badge"), "waits", "the page was told");
  listens();
  // Sooner than pages look by themselves.
  await page.waitForSelector("#state .badge:has-text('withdrawn')", { timeout: 10000 });
});

await claim("holds: decided by keys alone", async () => {
  const page = await visitor();
  await loginByLink(page);
  const client = psql("SELECT secret FROM vault WHERE id = 1 AND 5 = 5");
  await page.waitForSelector("#list .cards:not(.over) a.card");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  // Until it is loaded it hears no keys.
  await page.waitForURL(/\/ui\/holds\/./);
  await page.waitForSelector("#approve");
  await page.keyboard.press("a");
  equal(await page.evaluate(() => document.activeElement.id), "approve");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".notice.good");
  equal((await client.done).out.trim(), "opened");
});

await claim("holds: news leaves alone what the keys have chosen", async () => {
  const page = await visitor();
  await loginByLink(page);
  const clients = [psql(EXPORT), psql("SELECT secret FROM vault WHERE id = 1 AND 8 = 8")];
  const cards = page.locator("#list .cards:not(.over) a.card");
  await cards.nth(1).waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  const chosen = () => page.evaluate(() => [document.activeElement.getAttribute("href"), ...[...document.querySelectorAll(".at[data-item] a")].map((link) => link.getAttribute("href"))]);
  const path = await cards.nth(1).getAttribute("href");
  equal(await chosen(), [path, path]);
  const exports = (await cards.nth(1).textContent()).includes("FROM orders");
  clients[exports ? 1 : 0].child.kill();
  await until(async () => (await cards.count()) === 1, "the other one is over");
  equal(await chosen(), [path, path]);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${scene.ui}${path}`);
});

await claim("holds: a statement of a megabyte is shown in part, and the page says how much is missing", async () => {
  const page = await visitor();
  await loginByLink(page);
  const filler = "x".repeat(1_000_000);
  const client = psqlReads(`SELECT secret FROM vault WHERE secret <> '${filler}';\n`);
  await opens(page, "xxxx");
  const cut = await page.textContent("section .cut");
  const [, hidden, length] = /(\d+) of (\d+) characters are not shown/.exec(cut);
  equal(Number(length), filler.length + 44, "the length");
  const shown = (await page.textContent("pre.whole")).length;
  equal(shown + Number(hidden), Number(length), "what is shown and what is not");
  const [whole] = await Promise.all([page.waitForResponse(/hold\/statement/), page.click("text=Show the whole statement")]);
  const text = await whole.text();
  equal(text.slice(0, Number(length)).includes(`'${filler}'`), true, "the statement to its end");
  equal(/^\n\nIt runs as \S+; search path: .*\.$/.test(text.slice(Number(length))), true, "and what decides beside it");
});

await claim("holds: one click is one decision, and a page that is old decides nothing", async () => {
  const page = await visitor();
  await loginByLink(page);
  const client = psql("SELECT secret FROM vault WHERE id = 1 AND 7 = 7");
  await opens(page, "7 = 7");
  const other = await page.context().newPage();
  await other.goto(page.url());
  // A page that is behind another draws nothing, and waits for what it draws.
  await page.bringToFront();
  await page.click("#approve");
  await page.waitForSelector(".notice.good");
  await client.done;
  // The page has learned of it by itself by now, and hides the button.
  await other.evaluate(() => { const button = document.querySelector("#approve"); button.form.requestSubmit(button); });
  await other.waitForSelector(".notice.bad");
  contains(await other.textContent(".notice"), "Nothing was decided");
});

await claim("holds: control characters and markup in a statement are shown, and are nothing else", async () => {
  const page = await visitor();
  await loginByLink(page);
  const client = psql("SELECT secret FROM vault /* <script>alert(1)</script> \u001b[2J \u202e */ WHERE id = 1");
  await opens(page, "<script>");
  const shown = await page.textContent("pre.whole");
  contains(shown, "<script>alert(1)</script>");
  contains(shown, "ESC[2J");
  contains(shown, "U+202E");
  expect(!/[\u0000-\u0008\u001b\u202e]/.test(await page.textContent("body")), "raw control characters");
  await shot(page, "hold-hostile");
});
