// Opens a comparison's report in Chromium; prints what it saw as JSON. With a folder, leaves screenshots and a print there.
import { createRequire } from "node:module";
const [, , modules, url, shots] = process.argv;
const { chromium } = createRequire(`${modules}/x.js`)("playwright-core");
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args, timeout: 180000 });
const faults = [], strangers = [], found = {};
for (const colorScheme of ["light", "dark"]) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, colorScheme });
  page.setDefaultTimeout(180000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") faults.push(message.text()); });
  page.on("request", (request) => { if (request.url() !== url) strangers.push(request.url()); });
  await page.goto(url);
  if (shots) await page.screenshot({ path: `${shots}/${colorScheme}.png`, fullPage: true });
  found[colorScheme] = await page.evaluate(() => {
    const overlaps = [];
    for (const chart of document.querySelectorAll("svg.chart")) {
      const boxes = [...chart.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
      const edge = chart.getBoundingClientRect();
      boxes.forEach(([name, one], index) => {
        if (one.left < edge.left - 1 || one.right > edge.right + 1 || one.bottom > edge.bottom + 1) overlaps.push([name, "the edge"]);
        for (const [other, two] of boxes.slice(index + 1)) {
          if (one.left < two.right - 1 && two.left < one.right - 1 && one.top < two.bottom - 4 && two.top < one.bottom - 4) overlaps.push([name, other]);
        }
      });
    }
    return {
      overlaps, charts: document.querySelectorAll("svg.chart").length,
      wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
      background: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
    };
  });
  if (colorScheme === "dark") {
    const cards = () => page.locator("#flip-list .card").count();
    const count = () => page.locator("#flip-count").textContent();
    await page.locator("#flip-kind").focus();
    await page.selectOption("#flip-kind", "all");
    found.all = [await cards(), await count()];
    await page.locator("#flip-more").focus();
    await page.keyboard.press("Enter");
    found.more = await cards();
    await page.locator("#flip-find").focus();
    await page.keyboard.type("number 17");
    found.find = [await cards(), await page.locator("#flip-list").textContent()];
    await page.locator("#flip-find").fill("");
    await page.selectOption("#flip-kind", "won");
    found.won = await count();
    await page.emulateMedia({ media: "print" });
    found.print = await page.evaluate(() => ({
      background: getComputedStyle(document.body).backgroundColor,
      controls: getComputedStyle(document.querySelector(".controls")).display,
      pairs: [...document.querySelectorAll("details table")].every((table) => table.getBoundingClientRect().height > 0),
    }));
    if (shots) await page.screenshot({ path: `${shots}/print.png`, fullPage: true });
    if (shots) await page.pdf({ path: `${shots}/print.pdf`, format: "A4" });
  }
  await page.close();
}
const phone = await browser.newPage({ viewport: { width: 390, height: 800 } });
phone.setDefaultTimeout(180000);
await phone.goto(url);
found.phone = await phone.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
if (shots) await phone.screenshot({ path: `${shots}/phone.png`, fullPage: true });
console.log(JSON.stringify({ faults, strangers, ...found }));
await browser.close();
