// What other sites, other people and old pages can do: nothing.
import http from "node:http";
import { claim, contains, equal, expect, inside, link, login, loginByLink, opens, psql, raw, scene, throughProvider, until, visitor, waiting } from "../lib.mjs";

const cookieOf = async (page) => {
  const [one] = (await page.context().cookies()).filter(({ name }) => name === "weir");
  return `weir=${one.value}`;
};
const FORM = { "content-type": "application/x-www-form-urlencoded" };
/** What a page of this session would send. */
async function form(page) {
  return page.evaluate(() => Object.fromEntries(new FormData(document.querySelector("#approve").form)));
}
const encode = (fields) => new URLSearchParams(fields).toString();

/** A site of somebody else's, on another origin. */
async function evil(html) {
  const server = http.createServer((_, answer) => { answer.setHeader("content-type", "text/html"); answer.end(html); });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() };
}

await claim("attack: a decision without the form's token, with another session's, or from another origin is refused", async () => {
  const [page, other] = [await visitor(), await visitor()];
  await loginByLink(page);
  await loginByLink(other);
  const client = psql("SELECT secret FROM vault WHERE id = 1 AND 'attacked' <> ''");
  for (const one of [page, other]) {
    await opens(one, "attacked");
    await one.waitForSelector("#approve");
  }
  const [fields, theirs] = [await form(page), await form(other)];
  const cookie = await cookieOf(page);
  const own = { ...FORM, cookie, origin: scene.ui };
  const send = (headers, fields) => raw("POST", "/ui/hold/decide", { headers, body: encode({ ...fields, decision: "approve" }) });
  for (const [name, headers, sent] of [
    ["no token", own, { ...fields, csrf: "" }],
    ["another session's token", own, { ...fields, csrf: theirs.csrf }],
    ["another origin", { ...own, origin: "https://evil.example" }, fields],
    ["the origin null", { ...own, origin: "null" }, fields],
    ["another port", { ...own, origin: "http://127.0.0.1:1" }, fields],
    ["no origin at all", { ...FORM, cookie }, fields],
    ["a site next door", { ...FORM, cookie, "sec-fetch-site": "same-site" }, fields],
    ["a text that is no form", { ...own, "content-type": "text/plain" }, fields],
    ["JSON", { ...own, "content-type": "application/json" }, fields],
  ]) {
    const answer = await send(headers, sent);
    expect([400, 403].includes(answer.status), `${name}: ${answer.status}`);
  }
  equal((await raw("GET", `/ui/hold/decide?${encode({ ...fields, decision: "approve" })}`, { headers: { cookie } })).status, 404);
  equal((await waiting()).length, 1, "it still waits");
  const good = await send(own, fields);
  equal(good.status, 303, "the control: the same with everything right");
  equal((await client.done).out.trim(), "opened");
});

await claim("attack: another site's page can neither frame ours, nor send a form, nor read an answer", async () => {
  const page = await visitor();
  await loginByLink(page);
  const site = await evil(`<iframe src="${scene.ui}/ui/holds"></iframe>
    <form id=f method=post action="${scene.ui}/ui/logout"><input name=csrf value=x></form>
    <script>window.read = fetch("${scene.ui}/ui/holds", {credentials: "include"}).then((a) => a.text(), (e) => "refused " + e)</script>`);
  await page.context().route(`${site.url}**`, (route) => route.continue());
  const there = await page.context().newPage();
  await there.goto(site.url);
  contains(await there.evaluate(() => window.read), "refused");
  await there.waitForTimeout(300);
  const framed = there.frames().find((frame) => frame !== there.mainFrame());
  expect(!(await framed.content()).includes("Nothing waits") && !framed.url().startsWith(scene.ui), `framed: ${framed.url()}`);
  await Promise.all([there.waitForResponse(/logout/), there.evaluate(() => document.querySelector("#f").submit())]);
  await page.goto(`${scene.ui}/ui/holds`);
  contains(await page.textContent(".who"), "root", "still logged in");
  site.close();
});

await claim("attack: a session that was planted before a login is worth nothing after it", async () => {
  const page = await visitor();
  const planted = "A".repeat(43);
  await page.context().addCookies([{ name: "weir", value: planted, url: scene.ui }]);
  await loginByLink(page);
  const cookie = await cookieOf(page);
  expect(cookie !== `weir=${planted}`, "the planted cookie was taken over");
  equal((await raw("GET", "/ui/holds", { headers: { cookie: `weir=${planted}` } })).status, 303);
  // A second login ends the first session.
  await page.goto(await link());
  await page.click("button:has-text('Log in as')");
  await inside(page);
  expect((await cookieOf(page)) !== cookie, "the same cookie again");
  equal((await raw("GET", "/ui/holds", { headers: { cookie } })).status, 303, "the old session");
  const flags = await page.context().cookies();
  for (const one of flags) equal([one.httpOnly, one.sameSite, one.path], [true, "Lax", "/"], one.name);
});

await claim("attack: a login leads to pages of ours only", async () => {
  for (const next of ["https://evil.example/", "//evil.example/", "/\\evil.example", "/ui/../../evil", "javascript:alert(1)"]) {
    const page = await visitor();
    await login(page, "jane", next);
    expect(page.url() === `${scene.ui}/ui/holds`, `${next}: ${page.url()}`);
    await page.context().close();
  }
});

/** Stops the browser on its way back from the provider, who redirects it, and hands over the URL. */
async function stopped(page, name, where, click) {
  const devtools = await page.context().newCDPSession(page);
  let back = null;
  devtools.on("Fetch.requestPaused", ({ requestId, request }) => {
    back = request.url;
    devtools.send("Fetch.fulfillRequest", { requestId, responseCode: 200, body: Buffer.from("stopped").toString("base64") });
  });
  await devtools.send("Fetch.enable", { patterns: [{ urlPattern: "*/ui/login/return*" }] });
  await page.goto(where);
  if (click) await page.click(click);
  await throughProvider(page, name);
  await until(() => back, "the provider sends the browser back");
  await page.waitForSelector("text=stopped");
  await devtools.send("Fetch.disable");
  await devtools.detach();
  return back;
}
const intercepted = (page, name) => stopped(page, name, `${scene.ui}/ui/login`, "text=Log in with");

await claim("attack: an answer of the provider counts once, in the browser that began it", async () => {
  const [mine, victim] = [await visitor(), await visitor()];
  const back = await intercepted(mine, "jane");
  // Login CSRF: the victim's browser is sent the attacker's answer.
  await victim.goto(back);
  contains(await victim.textContent("main"), "belongs to no login");
  equal((await victim.context().cookies()).filter(({ name }) => name === "weir").length, 0);
  // The browser that began it takes it, and takes it once.
  await mine.goto(back);
  await mine.waitForURL(`${scene.ui}/ui/holds`);
  contains(await mine.textContent(".who"), "jane");
  // The page of holds asks for news, and goes to the login by itself where it is answered that nobody is logged in.
  await mine.goto("about:blank");
  await mine.context().clearCookies();
  await mine.goto(back);
  contains(await mine.textContent("main"), "belongs to no login");
  equal((await mine.context().cookies()).filter(({ name }) => name === "weir").length, 0);
  // Nor does it count a second time where the first login's cookies are kept.
  const again = await visitor();
  const good = await intercepted(again, "jane");
  const kept = await again.context().cookies(scene.ui);
  await again.goto(good);
  await again.waitForURL(`${scene.ui}/ui/holds`);
  await again.context().addCookies(kept);
  await again.goto(good);
  contains(await again.textContent("main"), "belongs to no login");
});

await claim("attack: a code for another login or another client logs nobody in", async () => {
  const [mine, other] = [await visitor(), await visitor()];
  const [back, theirs] = [await intercepted(mine, "jane"), await intercepted(other, "tom")];
  const [a, b] = [new URL(back), new URL(theirs)];
  // My login with their code: another verifier.
  a.searchParams.set("code", b.searchParams.get("code"));
  await mine.goto(a.toString());
  contains(await mine.textContent("main"), "gives no token");
  // A code that another client of the provider got.
  const page = await visitor();
  const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
  const stolen = await stopped(page, "jane", `${scene.issuer}/auth?client_id=other&response_type=code&scope=openid&state=s&nonce=n&code_challenge=${challenge}&code_challenge_method=S256&redirect_uri=${encodeURIComponent(scene.ui + "/ui/login/return")}`);
  const fourth = await visitor();
  const mixed = new URL(await intercepted(fourth, "jane"));
  mixed.searchParams.set("code", new URL(stolen).searchParams.get("code"));
  await fourth.goto(mixed.toString());
  contains(await fourth.textContent("main"), "gives no token");
  for (const one of [mine, page, fourth]) equal((await one.context().cookies()).filter(({ name }) => name === "weir").length, 0);
});

await claim("attack: another issuer's answer is refused", async () => {
  const page = await visitor();
  const back = new URL(await intercepted(page, "jane"));
  back.searchParams.set("iss", "https://evil.example");
  await page.goto(back.toString());
  contains(await page.textContent("main"), "another provider");
});

await claim("attack: a link is not spent by looking at it, and not logged in by another site's form", async () => {
  const once = await link();
  const key = new URL(once).searchParams.get("key");
  const refused = await raw("POST", "/ui/login/once", { headers: { ...FORM, origin: scene.ui }, body: encode({ key, csrf: "x" }) });
  equal(refused.status, 403);
  const foreign = await raw("POST", "/ui/login/once", { headers: { ...FORM, origin: "https://evil.example" }, body: encode({ key }) });
  equal(foreign.status, 403);
  for (let i = 0; i < 3; i += 1) equal((await raw("GET", new URL(once).pathname + new URL(once).search)).status, 200);
  const page = await visitor();
  await page.goto(once);
  await page.click("button:has-text('Log in as')");
  await inside(page);
});

await claim("attack: every answer says what a browser must not do with it", async () => {
  const page = await visitor();
  await loginByLink(page);
  const headers = { cookie: await cookieOf(page) };
  const icon = await page.getAttribute("link[rel=icon]", "href");
  for (const where of ["/ui/login", "/ui/holds", "/ui/search?text=x", "/ui/nothing", "/ui/hold/list", "/ui/api/v1/sessions", icon]) {
    const answer = await raw("GET", where, { headers });
    const csp = answer.headers["content-security-policy"] || "";
    for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"]) contains(csp, part, where);
    expect(!/unsafe|https?:|\*/.test(csp), `${where}: ${csp}`);
    equal(answer.headers["x-frame-options"], "DENY", where);
    equal(answer.headers["x-content-type-options"], "nosniff", where);
    equal(answer.headers["referrer-policy"], "same-origin", where);
    equal(answer.headers["cache-control"], where === icon ? "public, max-age=31536000, immutable" : "no-store", where);
  }
});

await claim("attack: tokens of the collector and of the cluster are no key to the pages", async () => {
  const { readFileSync } = await import("node:fs");
  const token = readFileSync(`${scene.state}/collector.token`, "utf8").trim();
  for (const where of ["/ui/sessions", "/ui/api/v1/sessions", "/ui/holds"]) {
    equal((await raw("GET", where, { headers: { authorization: `Bearer ${token}` } })).status, 303, where);
  }
  equal((await raw("GET", "/v1/sessions", { headers: { authorization: `Bearer ${token}` } })).status, 200, "the API takes it");
  equal((await raw("POST", "/ui/login/token", { headers: { ...FORM, origin: scene.ui }, body: encode({ token }) })).status, 403);
});
