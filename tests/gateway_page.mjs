// Drives the gateway's page in Chromium by the keyboard alone, looks at it in the dark and in a narrow window, and
// prints what it saw as JSON. Waits for what the page shows, never for a time.
import { createRequire } from "node:module";
const [, , modules, url, key, shots] = process.argv;
const { chromium } = createRequire(`${modules}/x.js`)("playwright-core");
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args, timeout: 180000 });
const faults = [], strangers = [];

async function opened(options) {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(180000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (one) => { if (!one.url().startsWith(url) && !one.url().startsWith("data:")) strangers.push(one.url()); });
  await page.goto(`${url}/`);
  await page.locator("#key").waitFor({ state: "visible" });
  await page.locator("#key").focus();
  await page.keyboard.type(key);
  await page.keyboard.press("Enter");
  await page.locator("#job-list button").nth(1).waitFor();
  return page;
}

/** Tab on until the element has the focus; how many steps that took. */
async function tabTo(page, wanted) {
  for (let step = 1; step < 60; step += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((one) => document.activeElement.matches(one), wanted)) return step;
  }
  throw new Error(`Tab never leads to ${wanted}`);
}

const saw = {}, page = await opened({ viewport: { width: 1200, height: 900 } });
const text = (id) => page.locator(`#${id}`).textContent();
await tabTo(page, "#job-list li:nth-child(1) button");
await page.keyboard.press("Enter");
await page.locator("#verbs button").first().waitFor();
saw.running = { status: await text("job-status"), verbs: await text("verbs") };
await tabTo(page, "#verbs button:nth-child(2)");
await page.keyboard.press("Enter");
await page.locator("#job-status.cancelled").waitFor();
await page.locator("#job-list li:nth-child(2) button").focus();
await page.keyboard.press("Enter");
await page.locator("#job-status.succeeded").waitFor();
await page.locator("#curve polyline.train").waitFor();
saw.title = await text("job-title");
await page.getByText("The job has successfully completed").waitFor();
saw.events = await page.locator("#events li").count();
saw.whole = await text("curve-text");
await tabTo(page, "#log");
await page.keyboard.press("Space");
await tabTo(page, "#curve");
await page.keyboard.press("Home");
await page.locator("#curve line.at").waitFor({ state: "attached" });
saw.first = await text("curve-text");
await page.keyboard.press("Escape");
await tabTo(page, "#events");
await tabTo(page, "#message");
await page.keyboard.type("hello");
await page.keyboard.press("Control+Enter");
await page.waitForFunction(() => !document.querySelector("#ask").disabled && document.querySelector("#left-answer").textContent !== "");
saw.left = await text("left-answer");
saw.right = await text("right-answer");
saw.models = await page.locator("#model-list tr").count();
saw.held = await page.evaluate(() => [...document.querySelectorAll("input, select, textarea, button")].filter((one) => !one.labels?.length && !one.textContent.trim() && !one.ariaLabel).map((one) => one.id));
if (shots) await page.screenshot({ path: `${shots}/light.png`, fullPage: true });
const narrow = await opened({ viewport: { width: 390, height: 800 }, colorScheme: "dark" });
saw.overflow = await narrow.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
if (shots) await narrow.screenshot({ path: `${shots}/narrow.png`, fullPage: true });
console.log(JSON.stringify({ faults, strangers, ...saw }));
await browser.close();
