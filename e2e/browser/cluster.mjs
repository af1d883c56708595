// What people do in the web UI of a cluster's collector: one part each, by name. Last line: what was found, as JSON.
import { equal, login, raw, scene, shot, until, visitor } from "./lib.mjs";

const [part] = process.argv.slice(2);

/** Somebody who is logged in: through the provider, or with a token of the cluster. */
async function somebody(to) {
  const page = await visitor();
  if (!scene.token) {
    await login(page, scene.person, to);
    return page;
  }
  await page.goto(`${scene.ui}/ui/login?next=${encodeURIComponent(to)}`);
  await page.fill("#token", scene.token);
  await page.click("form[action='/ui/login/token'] button");
  await page.waitForURL(`${scene.ui}${to}`);
  return page;
}
const hold = () => `/ui/holds/shop/${scene.request}`;
const state = (page) => page.textContent("#state .badge");

/** Waits for a state; says what the page says if it does not come. */
async function becomes(page, wanted) {
  await until(async () => (await state(page)) === wanted, `it is ${wanted}`).catch(async (error) => {
    await shot(page, `cluster-not-${wanted}`, true);
    const said = (await page.locator("main").textContent()).replace(/\s+/g, " ").slice(0, 600);
    throw new Error(`${error.message}: ${page.url()}: ${said}`);
  });
}

const PARTS = {
  /** Reads the summary, clicks once, and sends the same click again. */
  async approve() {
    const page = await somebody("/ui/holds");
    await page.click(`#list a.card[href*="${scene.request}"]`);
    await page.waitForURL(scene.ui + hold());
    await page.waitForSelector("#approve");
    const summary = await page.locator("h1.summary span").allTextContents();
    await shot(page, "cluster-hold", true);
    const form = await page.locator("form:has(#approve) input").evaluateAll((all) => all.map((one) => [one.name, one.value]));
    await page.click("#approve");
    await becomes(page, "approved");
    await shot(page, "cluster-approved", true);
    const cookies = (await page.context().cookies()).map((one) => `${one.name}=${one.value}`).join("; ");
    const body = new URLSearchParams([...form, ["decision", "approve"]]).toString();
    const again = await raw("POST", "/ui/hold/decide", {
      headers: { cookie: cookies, origin: scene.ui, "content-type": "application/x-www-form-urlencoded" }, body,
    });
    equal(again.status, 303, "the same click again");
    await page.goto(scene.ui + hold());
    return { summary, again: (await page.locator(".notice").allTextContents()).join(" ") };
  },
  /** Sees the hold and is told why it is not theirs to decide, whether they are offered a button or not. */
  async refused() {
    const page = await somebody(hold());
    await page.waitForSelector("#state");
    const button = page.locator("#approve");
    if (await button.isVisible()) await button.click();
    await page.waitForSelector(".notice");
    await shot(page, `cluster-refused-${scene.person || "token"}`, true);
    return { why: (await page.locator(".notice").allTextContents()).join(" ") };
  },
  /** Denies with a reason. */
  async deny() {
    const page = await somebody(hold());
    await page.fill("#reason", scene.reason);
    await page.click("button.danger");
    await becomes(page, "denied");
    await shot(page, "cluster-denied", true);
    return {};
  },
  /** Finds the first session of a statement and looks at what its client saw. */
  async replay() {
    const page = await somebody(`/ui/search?text=${encodeURIComponent(scene.statement)}`);
    await page.locator("main a[href*='/ui/sessions/']").last().click();
    await page.waitForSelector(".step");
    const step = page.locator(".step:has(table.result)", { hasText: scene.statement });
    await shot(page, "cluster-replay", true);
    const [rows, steps] = [await step.locator("tbody tr").first().textContent(), await page.textContent(".steps")];
    await page.goto(`${scene.ui}/ui/overview`);
    await page.waitForSelector("svg");
    await shot(page, "cluster-overview", true);
    return { rows, steps };
  },
};

console.log(JSON.stringify(await PARTS[part]()));
process.exit(0);
