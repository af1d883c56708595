// An auditor's day: sessions, search, exports; and what they read is on record.
import { readFileSync } from "node:fs";
import { claim, contains, equal, expect, loginByLink, login, psql, scene, shot, until, visitor } from "../lib.mjs";

await claim("evidence: sessions are listed, and found by identity and target", async () => {
  await psql("SELECT name, ssn FROM customers WHERE id < 4", "DELETE FROM customers").done;
  const page = await visitor();
  await loginByLink(page);
  await until(async () => {
    await page.goto(`${scene.ui}/ui/sessions?identity=reporter&target=db`);
    return (await page.locator("table.list tbody tr").count()) >= 3;
  }, "sessions in the list");
  await shot(page, "sessions", true);
  await page.goto(`${scene.ui}/ui/sessions?identity=nobody`);
  contains(await page.textContent("main"), "No session fits");
});

await claim("evidence: search finds a statement by text, label, table and decision", async () => {
  const page = await visitor();
  await login(page, "amy", "/ui/search");
  // What the claim before asked for is on record; its last statement comes last.
  await until(async () => {
    await page.goto(`${scene.ui}/ui/search?decision=deny`);
    return (await page.textContent("main")).includes("DELETE FROM customers");
  }, "the statements are on record");
  await page.goto(`${scene.ui}/ui/search`);
  await page.fill("input[name=text]", "SSN from Customers");
  await page.click("button:has-text('Search')");
  await page.waitForURL(/text=SSN/);
  contains(await page.textContent(".events"), "SELECT name, ssn FROM customers");
  await shot(page, "search", true);
  for (const query of ["label=pii.*", "table=public.customers&text=ssn", "text=ssn&within=1h"]) {
    await page.goto(`${scene.ui}/ui/search?${query}`);
    contains(await page.textContent(".events"), "ssn", query);
  }
  await page.goto(`${scene.ui}/ui/search?decision=deny`);
  contains(await page.textContent(".events"), "DELETE FROM customers");
  await page.click(".event a.when");
  await page.waitForURL(/\/ui\/sessions\/[0-9a-z]{13}#s=\d+$/);
  contains(await page.textContent(".step.at"), "DELETE FROM customers");
});

await claim("evidence: exports are CSV and JSON of the same question", async () => {
  const page = await visitor();
  await loginByLink(page);
  await page.goto(`${scene.ui}/ui/search?label=pii.ssn`);
  for (const [name, check] of [
    ["CSV", (text) => { contains(text.split("\n")[0], "identity"); contains(text, "SELECT name, ssn FROM customers"); }],
    ["JSON", (text) => { expect(JSON.parse(text).events.length > 0, "no events"); }],
  ]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(`.exports >> text=${name}`)]);
    check(readFileSync(await download.path(), "utf8"));
  }
});

await claim("evidence: every search is evidence under the auditor's name", async () => {
  const page = await visitor();
  await login(page, "amy", "/ui/search?text=my-own-question");
  await page.goto(`${scene.ui}/ui/search?kind=evidence_read`);
  const read = await page.textContent(".events");
  contains(read, "by amy@corp.example");
  contains(read, "text=my-own-question");
});

await claim("evidence: the questions that are always asked have answers, as tables and CSV", async () => {
  const page = await visitor();
  await login(page, "amy", "/ui/questions");
  await page.click("text=Who read labelled data");
  await page.fill("input[name=label]", "pii.*");
  await page.click("button:has-text('Ask')");
  await page.waitForSelector("table.list");
  contains(await page.textContent("table.list"), "reporter");
  contains(await page.textContent("table.list"), "pii.ssn");
  await shot(page, "question", true);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(".exports >> text=CSV")]);
  contains(readFileSync(await download.path(), "utf8"), "pii.ssn");
  await page.goto(`${scene.ui}/ui/questions/who-read-evidence?ask=yes&identity=amy@corp.example`);
  contains(await page.textContent("main"), "amy@corp.example");
});

await claim("evidence: the overview is pictures of what happened", async () => {
  const page = await visitor();
  await loginByLink(page);
  await page.goto(`${scene.ui}/ui/overview`);
  expect(await page.locator("svg.chart rect").count() >= 2, "bars");
  contains(await page.textContent(".bars"), "reporter");
  contains(await page.textContent("main"), "hide-pii");
  await shot(page, "overview", true);
});

await claim("evidence: the proof verifies the whole record", async () => {
  const page = await visitor();
  await loginByLink(page);
  await page.goto(`${scene.ui}/ui/proof`);
  await page.click("text=Verify everything now");
  await page.waitForSelector(".verdict.good");
  contains(await page.textContent(".verdict"), "complete and unaltered");
  await shot(page, "proof", true);
});

await claim("evidence: findings say what must be looked at", async () => {
  const page = await visitor();
  await loginByLink(page);
  await page.goto(`${scene.ui}/ui/findings`);
  equal(await page.textContent("h1"), "Findings");
  await shot(page, "findings");
});
