// Drives the gateway's page in Chromium with the keyboard only; prints what it saw as JSON.
import { createRequire } from "node:module";
const [, , modules, url, key, shots] = process.argv;
const { chromium } = createRequire(`${modules}/x.js`)("playwright-core");
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
const faults = [], strangers = [];
page.on("pageerror", (error) => faults.push(String(error)));
page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) strangers.push(request.url()); });
await page.goto(`${url}/`);
await page.locator("#key").waitFor({ state: "visible" });
await page.locator("#key").focus();
await page.keyboard.type(key);
await page.keyboard.press("Enter");
await page.locator("#job-list button").first().waitFor();
await page.locator("#job-list button").first().focus();
await page.keyboard.press("Enter");
await page.locator("#curve polyline.train").waitFor();
await page.locator("#right option").first().waitFor({ state: "attached" });
const tabs = [];
await page.locator("#copy").focus();
for (let step = 0; step < 12; step += 1) {
  await page.keyboard.press("Tab");
  tabs.push(await page.evaluate(() => document.activeElement.id || document.activeElement.tagName));
}
await page.locator("#message").focus();
await page.keyboard.type("I smile about number 0");
await page.keyboard.press("Control+Enter");
await page.waitForFunction(() => ["left-answer", "right-answer"].every((id) => !["", "…"].includes(document.getElementById(id).textContent)), undefined, { timeout: 300000 });
if (shots) await page.screenshot({ path: `${shots}/page.png`, fullPage: true });
const text = (id) => page.locator(`#${id}`).textContent();
console.log(JSON.stringify({ faults, strangers, tabs, curve: await text("curve-text"), title: await text("job-title"),
  left: await text("left-answer"), right: await text("right-answer"), events: await page.locator("#events li").count() }));
await browser.close();
