"use strict";
const $ = (id) => document.getElementById(id);
const OVER = ["succeeded", "failed", "cancelled"];
const state = { jobs: new Map(), order: [], older: 0, more: false, chosen: null, events: [], stream: null, served: new Set() };
let key = sessionStorage.getItem("key") || "";

const headers = (more) => ({ ...(key ? { authorization: `Bearer ${key}` } : {}), ...more });

async function call(path, options = {}) {
  const answer = await fetch(`/v1${path}`, { ...options, headers: headers(options.headers) });
  if (answer.status === 401) $("keys").hidden = false;
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer;
}

function tell(text) { if ($("notice").textContent !== text) $("notice").textContent = text; }

function make(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const when = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString() : "–");

// --- jobs ---------------------------------------------------------------------------------------------------------

async function refresh() {
  try {
    const page = await (await call("/fine_tuning/jobs?limit=20")).json();
    for (const job of page.data) state.jobs.set(job.id, job);
    const older = state.order.filter((id) => !page.data.some((job) => job.id === id));
    state.order = [...page.data.map((job) => job.id), ...older];
    if (!state.older) state.more = page.has_more;
    showJobs();
    if (state.chosen) { const job = await (await call(`/fine_tuning/jobs/${state.chosen}`)).json(); state.jobs.set(job.id, job); showJob(); }
    await showModels();
    tell("");
  } catch (error) { tell(error.message); }
  setTimeout(refresh, document.hidden ? 10000 : 2000);
}

async function showMore() {
  const page = await (await call(`/fine_tuning/jobs?limit=20&after=${state.order.at(-1)}`)).json();
  for (const job of page.data) { state.jobs.set(job.id, job); state.order.push(job.id); }
  state.older += 1;
  state.more = page.has_more;
  showJobs();
}

function showJobs() {
  const list = $("job-list");
  $("no-jobs").hidden = state.order.length > 0;
  $("more").hidden = !state.more;
  state.order.forEach((id, index) => {
    let item = list.querySelector(`[data-id="${id}"]`);
    if (!item) {
      item = make("li", undefined, { "data-id": id });
      const button = make("button", undefined, { type: "button" });
      button.append(make("span", undefined, { class: "name" }), make("span"), document.createTextNode(" "), make("small"));
      button.addEventListener("click", () => choose(id));
      item.append(button);
    }
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] || null);
    const job = state.jobs.get(id), [name, status, small] = item.firstChild.children;
    name.textContent = job.user_provided_suffix ? `${job.model} · ${job.user_provided_suffix}` : job.model;
    status.textContent = job.status;
    status.className = `status ${job.status}`;
    small.textContent = when(job.created_at);
    item.firstChild.setAttribute("aria-current", String(id === state.chosen));
  });
  if (!state.chosen && state.order.length) choose(state.order[0]);
}

function choose(id) {
  if (state.stream) state.stream.abort();
  state.chosen = id;
  state.events = [];
  $("events").replaceChildren();
  showJobs();
  showJob();
  follow(id);
}

async function follow(id) {
  const stream = (state.stream = new AbortController());
  try {
    const answer = await call(`/fine_tuning/jobs/${id}/events?stream=true`, { signal: stream.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let left = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (left + value).split("\n\n");
      left = parts.pop();
      const found = parts.flatMap((part) => part.split("\n").filter((line) => line.startsWith("data: {")));
      if (found.length) addEvents(found.map((line) => JSON.parse(line.slice(6))));
    }
  } catch (error) { if (error.name !== "AbortError") tell(error.message); }
}

function addEvents(events) {
  for (const event of events) {
    state.events.push(event);
    const loss = event.data.train_loss, text = loss === undefined ? event.message : `${event.message} · loss ${loss.toFixed(4)}`;
    $("events").prepend(make("li", `${new Date(event.created_at * 1000).toLocaleTimeString()}  ${text}`, { class: event.level }));
  }
  drawCurve();
}

function showJob() {
  const job = state.jobs.get(state.chosen);
  if (!job) return;
  $("job").hidden = false;
  $("job-title").textContent = job.fine_tuned_model || job.id;
  const facts = { Status: job.status, Job: job.id, Base: job.model, Method: job.method.type, Created: when(job.created_at),
    Finished: when(job.finished_at), "Trained tokens": job.trained_tokens ?? "–", "Training file": job.training_file };
  if (job.error) facts.Error = job.error.message;
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) =>
    [make("dt", name), make("dd", String(value), name === "Status" ? { class: `status ${job.status}` } : {})]));
  const verbs = OVER.includes(job.status) ? [] : job.status === "paused" ? ["resume", "cancel"] : ["pause", "cancel"];
  if ($("verbs").dataset.for !== `${job.id} ${verbs}`) {
    $("verbs").dataset.for = `${job.id} ${verbs}`;
    $("verbs").replaceChildren(...verbs.map((verb) => {
      const button = make("button", verb, { type: "button" });
      button.addEventListener("click", () => act(job.id, verb, button));
      return button;
    }));
  }
}

async function act(id, verb, button) {
  button.disabled = true;
  try { state.jobs.set(id, await (await call(`/fine_tuning/jobs/${id}/${verb}`, { method: "POST" })).json()); showJobs(); showJob(); }
  catch (error) { tell(error.message); }
  button.disabled = false;
}

// --- the curve ----------------------------------------------------------------------------------------------------

function drawCurve() {
  const points = (name) => state.events.filter((one) => one.data.step !== undefined && one.data[name] !== undefined)
    .map((one) => [one.data.step, one.data[name]]).sort((a, b) => a[0] - b[0]);
  const train = points("train_loss"), valid = points("valid_loss"), all = [...train, ...valid], svg = $("curve");
  svg.replaceChildren();
  if (!all.length) { $("curve-text").textContent = "No loss yet."; return; }
  const total = Math.max(...all.map((p) => p[0]), ...state.events.map((one) => one.data.total_steps || 0), 2);
  const high = Math.max(...all.map((p) => p[1])), low = Math.min(0, ...all.map((p) => p[1]));
  const x = (step) => 46 + (584 * (step - 1)) / Math.max(1, total - 1), y = (loss) => 190 - (175 * (loss - low)) / (high - low || 1);
  const draw = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    svg.append(made);
  };
  for (const part of [0, 0.5, 1]) {
    const loss = low + part * (high - low);
    draw("line", { class: "axis", x1: 46, x2: 630, y1: y(loss), y2: y(loss) });
    draw("text", { x: 40, y: y(loss) + 4, "text-anchor": "end" }, loss.toPrecision(3));
  }
  draw("text", { x: 46, y: 208 }, "step 1");
  draw("text", { x: 630, y: 208, "text-anchor": "end" }, `step ${total}`);
  for (const [name, line] of [["train", train], ["valid", valid]]) {
    if (line.length) draw("polyline", { class: name, points: line.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" ") });
  }
  const last = train.at(-1), parts = last ? [`training loss ${last[1].toFixed(4)} at step ${last[0]} of ${total}`] : [];
  if (valid.length) parts.push(`validation loss ${valid.at(-1)[1].toFixed(4)} (dashed)`);
  $("curve-text").textContent = parts.join(", ");
}

// --- models and the playground ------------------------------------------------------------------------------------

async function showModels() {
  const models = (await (await call("/models")).json()).data;
  const deployed = new Map((await (await fetch("/deployments", { headers: headers() })).json()).data.map((one) => [one.model, one.status]));
  const text = JSON.stringify([models, [...deployed]]);
  if ($("model-list").dataset.text === text) return;
  $("model-list").dataset.text = text;
  $("model-list").replaceChildren(...models.map((one) => {
    const row = make("tr");
    row.append(make("td", one.id), make("td", one.owned_by), make("td", deployed.get(one.id) || "starts when asked"));
    return row;
  }));
  fill($("left"), models.filter((one) => !one.id.startsWith("ft:")));
  fill($("right"), models.filter((one) => one.id.startsWith("ft:")));
}

function fill(select, models) {
  const before = select.value;
  select.replaceChildren(...models.map((one) => make("option", one.id)));
  if (models.some((one) => one.id === before)) select.value = before;
}

async function ask(model, into) {
  into.textContent = model ? "…" : "No model to ask.";
  if (!model) return;
  const body = { model, stream: true, messages: [{ role: "user", content: $("message").value }],
    temperature: Number($("temperature").value), max_tokens: Number($("tokens").value) };
  try {
    const answer = await call("/chat/completions", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let left = "";
    into.textContent = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (left + value).split("\n");
      left = lines.pop();
      for (const line of lines.filter((one) => one.startsWith("data: {"))) {
        const event = JSON.parse(line.slice(6));
        if (event.error) throw new Error(event.error.message);
        into.textContent += event.choices[0]?.delta?.content ?? "";
      }
    }
    if (!into.textContent) into.textContent = "(an empty answer)";
  } catch (error) { into.textContent = `Error: ${error.message}`; }
}

$("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  await Promise.all([ask($("left").value, $("left-answer")), ask($("right").value, $("right-answer"))]);
  button.disabled = false;
});
$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("chat").requestSubmit();
});
$("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value;
  sessionStorage.setItem("key", key);
  $("keys").hidden = true;
});
$("more").addEventListener("click", () => showMore().catch((error) => tell(error.message)));
$("copy").addEventListener("click", () => navigator.clipboard.writeText($("base").textContent));
$("base").textContent = `${location.origin}/v1`;
refresh();
