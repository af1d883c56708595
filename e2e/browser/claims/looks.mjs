// How it looks: narrow, dark, and by keys.
import { claim, equal, expect, fits, loginByLink, opens, psql, scene, shot, visitor } from "../lib.mjs";

const PAGES = ["holds", "sessions", "search", "search?label=pii.*", "findings", "overview", "questions/who-read-label?ask=yes&within=30d", "proof?verify=now"];

for (const [name, size] of [["narrow", { width: 390, height: 844 }], ["dark", { dark: true }], ["narrow-dark", { width: 390, height: 844, dark: true }]]) {
  await claim(`looks: every page at ${name}`, async () => {
    const page = await visitor(size);
    await page.goto(`${scene.ui}/ui/login`);
    await fits(page, "door");
    await shot(page, `${name}-door`);
    await loginByLink(page);
    await psql("SELECT id, name, ssn FROM customers ORDER BY id LIMIT 3", "SELECT id, body FROM notes ORDER BY id").done;
    psql("SELECT secret FROM vault WHERE id = 1 AND secret <> 'a rather long literal that does not fit into the line of a list of holds'");
    await page.waitForSelector("#list .cards:not(.over) a.card");
    for (const one of PAGES) {
      await page.goto(`${scene.ui}/ui/${one}`);
      await fits(page, one);
      await shot(page, `${name}-${one.replace(/\W+/g, "-")}`, true);
    }
    await page.goto(`${scene.ui}/ui/holds`);
    await opens(page, "a rather long literal");
    await page.waitForSelector("#approve");
    await fits(page, "hold");
    await shot(page, `${name}-hold`, true);
    await page.goto(`${scene.ui}/ui/sessions?target=db`);
    await page.click("table.list tbody tr:nth-child(2) a");
    await page.waitForSelector(".step");
    await fits(page, "replay");
    await shot(page, `${name}-replay`, true);
  });
}

await claim("looks: keys reach everything, in order, and a list of them is a key away", async () => {
  const page = await visitor();
  await loginByLink(page);
  await page.goto(`${scene.ui}/ui/sessions`);
  await page.keyboard.press("Tab");
  equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("?");
  expect(await page.locator("dialog#keys").isVisible(), "the list of keys");
  await shot(page, "keys");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  equal(await page.locator("tr.at").count(), 1);
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/ui\/sessions\/[0-9a-z]{13}/);
  await page.keyboard.press("g");
  await page.keyboard.press("f");
  await page.waitForURL(/\/ui\/search/);
  await page.keyboard.press("/");
  equal(await page.evaluate(() => document.activeElement.name), "text");
});
