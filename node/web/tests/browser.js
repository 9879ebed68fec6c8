// A real Chromium, and people who use the page in it.

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
/** Of everything that a page waits for: longer than a failover on a machine that has much else to do. */
const PATIENCE_MS = 45_000;

export const SCREENS = {
  desktop: { viewport: { width: 1360, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

/** Whoever has not gone by the end of a test: a failed one leaves people behind. */
const here = new Set();

export async function sendAllHome() {
  await Promise.all([...here].map((context) => context.close().catch(() => undefined)));
  here.clear();
}

export async function openBrowser() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
  });
}

/** Somebody with a browser of their own. What their page asks of anybody else, and what it complains about, is kept. */
export async function visitor(browser, library, screen = "desktop", options = {}) {
  // The page's own policy lets nobody run anything in it, axe included.
  const context = await browser.newContext({ ...SCREENS[screen], locale: "en-GB", bypassCSP: false, ...options });
  here.add(context);
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const trouble = [];
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(library.url) && !url.startsWith("blob:") && !url.startsWith("data:")) trouble.push(url);
  });
  page.on("pageerror", (error) => trouble.push(error.message));
  page.on("console", (message) => /Content Security Policy/.test(message.text()) && trouble.push(message.text()));
  const open = (path) => page.goto(library.url + path);
  return {
    page,
    context,
    trouble,
    open,
    close: () => (here.delete(context), context.close()),
    seat: (id) => page.locator(`[data-seat$="/${id}"]`),
    async logIn(user, password = library.password(user)) {
      await page.getByRole("button", { name: "Log in" }).first().click();
      await page.getByLabel("Name", { exact: true }).fill(user);
      await page.getByLabel("Password").fill(password);
      await page.locator("dialog button[type=submit]").click();
      await page.locator(".account").waitFor();
    },
    async register(user, password = "a good long password") {
      await page.getByRole("button", { name: "Log in" }).first().click();
      await page.getByRole("button", { name: "I have no account yet" }).click();
      await page.getByLabel("Name", { exact: true }).fill(user);
      await page.getByLabel("Password").fill(password);
      await page.getByRole("button", { name: "Create account" }).click();
      await page.locator(".account").waitFor();
    },
    /** Both taps. */
    async book(id) {
      await page.locator(`[data-seat$="/${id}"]`).click();
      await page.getByRole("button", { name: "Book this seat" }).click();
      await page.locator('[data-phase="booked"]').waitFor();
    },
  };
}

/** By how much the page is wider than the screen, as one finds out who has to scroll it sideways. */
export async function excess(page) {
  const { width } = page.viewportSize();
  return page.evaluate((width) => Math.max(document.documentElement.scrollWidth, innerWidth) - width, width);
}

/** What stands against the page as it is shown now, by everything that axe knows of WCAG 2.2 AA. */
export async function violations(page) {
  await page.evaluate(AXE);
  // Half of a colour on its way is nobody's complaint.
  await page.evaluate(() => Promise.allSettled(document.getAnimations().map((moving) => moving.finished)));
  const found = await page.evaluate((rules) => globalThis.axe.run(document, { runOnly: rules }), RULES);
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).slice(0, 3)}`);
}
