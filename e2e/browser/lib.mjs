// The harness of the claims: a browser whose every page must keep its security policy, psql in the
// background, and one line per claim.
import { spawn } from "node:child_process";
import { readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import http from "node:http";
import https from "node:https";
import path from "node:path";

const require = createRequire(process.env.MODULES + "/");
const { chromium } = require("playwright-core");

export const scene = JSON.parse(readFileSync(process.env.SCENE, "utf8"));
const only = (process.env.ONLY || "").split(",").filter(Boolean);
let passed = 0;
const failures = [];

/** Fails with what was seen. */
export function expect(truth, what) {
  if (!truth) throw new Error(what);
}
export function equal(actual, wanted, what = "") {
  const [a, w] = [JSON.stringify(actual), JSON.stringify(wanted)];
  if (a !== w) throw new Error(`${what ? what + ": " : ""}expected ${w}, got ${a}`);
}
export function contains(text, part, what = "") {
  if (!String(text).includes(part)) throw new Error(`${what ? what + ": " : ""}${JSON.stringify(part)} is not in ${JSON.stringify(String(text).slice(0, 600))}`);
}

/** Runs one claim. */
export async function claim(name, test) {
  if (only.length && !only.some((part) => name.includes(part))) return;
  const start = Date.now();
  try {
    await test();
    await over();
    const own = complaints.splice(0);
    if (own.length) throw new Error(`the browser complained: ${own.join(" | ")}`);
    passed += 1;
    console.log(`ok    ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  } catch (error) {
    complaints.length = 0;
    failures.push(name);
    console.log(`FAIL  ${name}\n        ${String(error.stack || error).split("\n").slice(0, 9).join("\n        ")}`);
    if (last && !last.isClosed()) await last.screenshot({ path: picture(`failed-${name.replace(/\W+/g, "-").slice(0, 60)}`) }).catch(() => {});
    await over().catch((error) => console.log(`        ${error.message}`));
    complaints.length = 0;
  }
}
/** Ends what a claim left: the next one begins with no browser, no client and no hold. */
async function over() {
  for (const context of browser.contexts()) await context.close();
  for (const client of clients.splice(0)) client.kill();
  await until(async () => (await waiting()).length === 0, "a hold closes itself when its client goes");
}
export function finish() {
  if (failures.length) console.log(`failed: ${failures.join("; ")}`);
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exit(failures.length || !passed ? 1 : 0);
}

// ------------------------------------------------------------------------------- the browser
mkdirSync(scene.screens, { recursive: true });
const picture = (name) => path.join(scene.screens, `${name}.png`);
const browser = await chromium.launch({ executablePath: scene.chromium, args: ["--no-sandbox"] });
/** What browsers complained of since the claim began. */
const complaints = [];
let last = null;

/** A browser of its own: cookies, size, colours. */
export async function visitor({ width = 1280, height = 860, dark = false, script = true } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: dark ? "dark" : "light", javaScriptEnabled: script,
    ignoreHTTPSErrors: Boolean(scene.insecure),
  });
  context.setDefaultTimeout(60000);
  // Nothing of a page of ours comes from elsewhere; the provider's own pages may ask for fonts.
  await context.route("**/*", (route) => {
    const url = route.request().url();
    if (url.startsWith(scene.ui) || url.startsWith(scene.issuer) || url.startsWith("data:")) return route.continue();
    const page = route.request().frame()?.page()?.url() || "";
    if (page.startsWith(scene.ui)) complaints.push(`a request to ${url}`);
    return route.abort();
  });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`CSP-VIOLATION ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`);
    });
  });
  context.on("page", (page) => watch(page));
  const page = await context.newPage();
  return page;
}
function watch(page) {
  last = page;
  page.on("console", (message) => {
    const text = message.text();
    if (!page.url().startsWith(scene.ui)) return;
    if (text.includes("CSP-VIOLATION") || text.includes("Content Security Policy")) complaints.push(text);
  });
  page.on("pageerror", (error) => {
    if (page.url().startsWith(scene.ui)) complaints.push(`script: ${error.message}`);
  });
}
/** Opens the hold of a statement, once it is in the list of those that wait. */
export async function opens(page, statement) {
  const card = page.locator("#list .cards:not(.over) a.card", { hasText: statement });
  await card.waitFor();
  const path = await card.getAttribute("href");
  await card.click();
  await page.waitForURL(`${scene.ui}${path}`);
}
/** A picture, which people look at. */
export async function shot(page, name, whole = false) {
  await page.screenshot({ path: picture(name), fullPage: whole });
}
/** No page may be wider than the window. */
export async function fits(page, what) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  expect(wide <= room, `${what}: ${wide} px wide in ${room} px`);
}

// ------------------------------------------------------------------------------- people
/** Waits for a page behind the door. */
export const inside = (page) => page.waitForURL((url) => url.href.startsWith(`${scene.ui}/ui/`) && !url.pathname.startsWith("/ui/login"));
/** Logs somebody in at the provider. */
export async function login(page, name, to = "/ui/") {
  await page.goto(`${scene.ui}/ui/login?next=${encodeURIComponent(to)}`);
  await page.click("text=Log in with");
  await throughProvider(page, name);
  await inside(page);
}
export async function throughProvider(page, name) {
  await page.waitForURL(`${scene.issuer}/**`);
  if (await page.locator("input[name=login]").count()) {
    await page.fill("input[name=login]", name);
    await page.fill("input[name=password]", "any");
    await page.click("button[type=submit]");
  }
  const consent = page.locator("button:has-text('Continue')");
  const there = () => page.url().startsWith(scene.issuer);
  await until(async () => !there() || (await consent.count().catch(() => 0)), "the provider asks for consent");
  if (there()) await consent.click();
}
/** A one-time link of the operating system's user. */
export async function link() {
  const said = await run([scene.weir, "ui", "--state-dir", scene.state]);
  return said.out.split("\n")[0].trim();
}
export async function loginByLink(page) {
  await page.goto(await link());
  await page.click("button:has-text('Log in as')");
  await inside(page);
}

// ------------------------------------------------------------------------------- programs
/** What was started since the claim began. */
const clients = [];
/** A program to its end. */
export function run(argv, { env = process.env, input } = {}) {
  return start(argv, { env, input }).done;
}
/** A program in the background; `done` is {code, out, err}. */
export function start(argv, { env = process.env, input } = {}) {
  const child = spawn(argv[0], argv.slice(1), { env });
  clients.push(child);
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => { out += data; });
  child.stderr.on("data", (data) => { err += data; });
  if (input !== undefined) child.stdin.end(input);
  const done = new Promise((resolve) => child.on("close", (code) => resolve({ code, out, err })));
  return { done, child, heard: () => err + out };
}
/** psql through Weir. */
export const psql = (...sql) => start([scene.psql, "-X", "-A", "-t", ...sql.flatMap((one) => ["-c", one])], { env: scene.env });
/** psql through Weir, with a script. */
export const psqlReads = (input) => start([scene.psql, "-X", "-A", "-t"], { env: scene.env, input });
/** The requests that wait. */
export async function waiting() {
  const said = await run([scene.weir, "requests", "--state-dir", scene.state, "--output", "json"]);
  const read = JSON.parse(said.out);
  return read.requests ?? read;
}
export async function until(truth, what, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await truth();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}
/** One request as bytes, without a browser: {status, headers, body}. */
export function raw(method, where, { headers = {}, body = "", base = scene.ui } = {}) {
  return new Promise((resolve, reject) => {
    const url = new URL(where, base);
    const client = url.protocol === "https:" ? https : http;
    const request = client.request(url, { method, rejectUnauthorized: !scene.insecure, headers: { ...headers, ...(body ? { "content-length": Buffer.byteLength(body) } : {}) } }, (answer) => {
      let text = "";
      answer.on("data", (data) => { text += data; });
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body: text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}
