"use strict";
const $ = (id) => document.getElementById(id);
const OVER = ["succeeded", "failed", "cancelled"];
const SHOWN = 500; // events in the list; the curve has them all
const state = { jobs: new Map(), order: [], older: 0, more: false, chosen: null, events: [], stream: null, at: null, asking: null };
let key = sessionStorage.getItem("key") || "";

const headers = (more) => ({ ...(key ? { authorization: `Bearer ${key}` } : {}), ...more });

async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers) });
  if (answer.status === 401) { $("keys").hidden = false; throw new Error("This gateway asks for an API key."); }
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer;
}

const read = async (path) => (await call(path)).json();

function tell(text) { if ($("notice").textContent !== text) $("notice").textContent = text; }

function make(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function put(element, text) { if (element.textContent !== text) element.textContent = text; }

const when = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "–");
const lasted = (seconds) => (seconds < 60 ? `${Math.round(seconds)} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s` : `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`);

function ago(seconds) {
  const past = Math.max(0, Date.now() / 1000 - seconds);
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  return past < 86400 ? `${Math.floor(past / 3600)} h ago` : when(seconds);
}

// --- jobs ---------------------------------------------------------------------------------------------------------

async function refresh() {
  try {
    const page = await read("/v1/fine_tuning/jobs?limit=20");
    for (const job of page.data) state.jobs.set(job.id, job);
    const older = state.order.filter((id) => !page.data.some((job) => job.id === id));
    state.order = [...page.data.map((job) => job.id), ...older];
    if (!state.older) state.more = page.has_more;
    showJobs();
    if (state.chosen && older.includes(state.chosen)) state.jobs.set(state.chosen, await read(`/v1/fine_tuning/jobs/${state.chosen}`));
    showJob();
    await showModels();
    tell("");
  } catch (error) { tell(error instanceof TypeError ? "The gateway does not answer." : error.message); }
  setTimeout(refresh, document.hidden ? 10000 : 2000);
}

async function showMore() {
  const page = await read(`/v1/fine_tuning/jobs?limit=20&after=${state.order.at(-1)}`);
  for (const job of page.data) { state.jobs.set(job.id, job); state.order.push(job.id); }
  state.older += 1;
  state.more = page.has_more;
  showJobs();
}

function showJobs() {
  const list = $("job-list"), counts = {};
  $("no-jobs").hidden = state.order.length > 0;
  $("more").hidden = !state.more;
  state.order.forEach((id, index) => {
    let item = list.querySelector(`[data-id="${id}"]`);
    if (!item) {
      item = make("li", undefined, { "data-id": id });
      const button = make("button", undefined, { type: "button" });
      button.append(make("span", undefined, { class: "name" }), make("span"), make("small"));
      button.addEventListener("click", () => choose(id));
      item.append(button);
    }
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] || null);
    const job = state.jobs.get(id), [name, status, small] = item.firstChild.children;
    put(name, job.user_provided_suffix ? `${job.user_provided_suffix} · ${job.model}` : job.model);
    showStatus(status, job.status);
    put(small, `${job.method.type} · ${ago(job.created_at)}`);
    item.firstChild.setAttribute("aria-current", String(id === state.chosen));
    counts[job.status] = (counts[job.status] || 0) + 1;
  });
  put($("counts"), ["running", "queued", "paused"].filter((one) => counts[one]).map((one) => `${counts[one]} ${one}`).join(" · "));
  if (!state.chosen && state.order.length) choose(state.order[0]);
}

function showStatus(element, status) {
  put(element, status.replace("_", " "));
  element.className = `status ${status}`;
}

function choose(id) {
  if (state.stream) state.stream.abort();
  state.chosen = id;
  state.events = [];
  state.at = null;
  $("events").replaceChildren();
  showJobs();
  showJob();
  drawCurve();
  follow(id);
}

async function follow(id) {
  const stream = (state.stream = new AbortController());
  let last = "";
  while (!stream.signal.aborted) {
    try {
      const more = last ? { headers: { "last-event-id": last } } : {};
      const answer = await call(`/v1/fine_tuning/jobs/${id}/events?stream=true`, { signal: stream.signal, ...more });
      const ended = await lines(answer, (line) => {
        if (line === "data: [DONE]") return true;
        return line.startsWith("data: {") ? JSON.parse(line.slice(6)) : undefined;
      }, (events) => { last = events.at(-1).id; addEvents(events); });
      if (ended && OVER.includes((await read(`/v1/fine_tuning/jobs/${id}`)).status)) return;
    } catch (error) { if (error.name === "AbortError") return; }
    await new Promise((done) => setTimeout(done, 2000)); // the server was told to leave: ask the next one
  }
}

/** Read a stream of events by chunk: `take` makes something of a line, or true at the end; `give` gets what was made. */
async function lines(answer, take, give) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let left = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return false;
    const whole = (left + value).split("\n");
    left = whole.pop();
    const made = whole.map(take).filter((one) => one !== undefined), over = made.at(-1) === true;
    if (over) made.pop();
    if (made.length) give(made);
    if (over) return true;
  }
}

function addEvents(events) {
  const list = $("events"), made = events.slice(-SHOWN).map((event) => {
    const loss = event.data.train_loss, text = loss === undefined ? event.message : `${event.message} · loss ${loss.toFixed(4)}`;
    const item = make("li", undefined, { class: event.level });
    item.append(make("time", new Date(event.created_at * 1000).toLocaleTimeString()), document.createTextNode(text));
    return item;
  });
  state.events.push(...events);
  list.prepend(...made.reverse());
  while (list.children.length > SHOWN) list.lastChild.remove();
  drawCurve();
  showProgress();
}

function showJob() {
  const job = state.jobs.get(state.chosen);
  if (!job) return;
  $("job").hidden = false;
  put($("job-title"), job.fine_tuned_model || (job.user_provided_suffix ? `${job.user_provided_suffix} · ${job.model}` : job.model));
  showStatus($("job-status"), job.status);
  const knobs = Object.entries(job.hyperparameters || {}).filter(([, value]) => value !== "auto").map(([name, value]) => `${name} ${value}`);
  const facts = { Job: job.id, "Base model": job.model, Method: job.method.type, Hyperparameters: knobs.join(", ") || "automatic",
    Created: when(job.created_at), [job.finished_at ? "Took" : "Since"]: lasted((job.finished_at || Date.now() / 1000) - job.created_at),
    "Trained tokens": job.trained_tokens?.toLocaleString() ?? "–", "Training file": job.training_file };
  const text = JSON.stringify(facts);
  if ($("facts").dataset.text !== text) {
    $("facts").dataset.text = text;
    $("facts").replaceChildren(...Object.entries(facts).map(([name, value]) => {
      const pair = make("div");
      pair.append(make("dt", name), make("dd", String(value)));
      return pair;
    }));
  }
  $("job-error").hidden = !job.error?.message;
  put($("job-error"), job.error?.message || "");
  showVerbs(job);
  showProgress();
}

function showVerbs(job) {
  const verbs = OVER.includes(job.status) ? [] : job.status === "paused" ? ["resume", "cancel"] : job.status === "running" ? ["pause", "cancel"] : ["cancel"];
  if ($("verbs").dataset.for === `${job.id} ${verbs}`) return;
  $("verbs").dataset.for = `${job.id} ${verbs}`;
  $("verbs").replaceChildren(...verbs.map((verb) => {
    const button = make("button", verb[0].toUpperCase() + verb.slice(1), { type: "button" });
    button.addEventListener("click", () => act(job.id, verb));
    return button;
  }));
}

async function act(id, verb) {
  for (const button of $("verbs").children) button.disabled = true;
  try { state.jobs.set(id, await (await call(`/v1/fine_tuning/jobs/${id}/${verb}`, { method: "POST" })).json()); }
  catch (error) { tell(error.message); }
  for (const button of $("verbs").children) button.disabled = false;
  showJobs();
  showJob();
}

function showProgress() {
  const job = state.jobs.get(state.chosen), last = state.events.findLast((one) => one.data.step !== undefined);
  const total = state.events.findLast((one) => one.data.total_steps)?.data.total_steps;
  $("progress").hidden = !job || OVER.includes(job.status) || !last || !total;
  if ($("progress").hidden) return;
  const eta = last.data.eta_s ?? state.events.findLast((one) => one.data.eta_s !== undefined)?.data.eta_s;
  $("bar").value = last.data.step / total;
  put($("bar-text"), `step ${last.data.step} of ${total}${eta === undefined || job.status !== "running" ? "" : ` · ${lasted(eta)} left`}`);
}

// --- the curve ----------------------------------------------------------------------------------------------------

const BOX = { left: 48, right: 628, top: 12, bottom: 196 };

function points(name) {
  const found = new Map(); // a resumed job tells a step twice: the later one holds
  for (const one of state.events) if (one.data.step !== undefined && Number.isFinite(one.data[name])) found.set(one.data.step, one.data[name]);
  return [...found].sort((a, b) => a[0] - b[0]);
}

function drawCurve() {
  const train = points("train_loss"), valid = points("valid_loss"), all = [...train, ...valid], svg = $("curve");
  svg.replaceChildren();
  $("valid-legend").hidden = !valid.length;
  if (!all.length) { put($("curve-text"), "No loss yet."); return; }
  const total = Math.max(...all.map((p) => p[0]), ...state.events.map((one) => one.data.total_steps || 0), 2);
  const values = all.map((p) => p[1]), scale = scaleOf(values, $("log").checked && Math.max(...values) > 0);
  const x = (step) => BOX.left + ((BOX.right - BOX.left) * (step - 1)) / Math.max(1, total - 1);
  const draw = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    svg.append(made);
  };
  for (const [loss, label] of scale.marks) {
    draw("line", { class: "axis", x1: BOX.left, x2: BOX.right, y1: scale.y(loss), y2: scale.y(loss) });
    draw("text", { x: BOX.left - 8, y: scale.y(loss) + 4, "text-anchor": "end" }, label);
  }
  draw("text", { x: BOX.left, y: BOX.bottom + 20 }, "step 1");
  draw("text", { x: BOX.right, y: BOX.bottom + 20, "text-anchor": "end" }, `step ${total}`);
  for (const [name, line] of [["train", train], ["valid", valid]]) {
    if (line.length) draw("polyline", { class: name, points: line.map((p) => `${x(p[0]).toFixed(1)},${scale.y(p[1]).toFixed(1)}`).join(" ") });
  }
  const at = state.at === null ? null : train[Math.min(state.at, train.length - 1)];
  if (at) draw("line", { class: "at", x1: x(at[0]), x2: x(at[0]), y1: BOX.top, y2: BOX.bottom });
  const seen = at ?? train.at(-1), near = valid.findLast((p) => !seen || p[0] <= seen[0]);
  if (seen) draw("circle", { class: "train", cx: x(seen[0]), cy: scale.y(seen[1]), r: 4 });
  if (near) draw("circle", { class: "valid", cx: x(near[0]), cy: scale.y(near[1]), r: 4 });
  svg.dataset.steps = JSON.stringify(train.map((p) => (x(p[0]) / 640).toFixed(4)));
  const parts = seen ? [`training loss ${seen[1].toFixed(4)} at step ${seen[0]} of ${total}`] : [];
  if (near) parts.push(`validation loss ${near[1].toFixed(4)} at step ${near[0]}`);
  put($("curve-text"), parts.join(", "));
}

/** Where a loss lies, and the marks beside the curve: round numbers, or powers of ten. */
function scaleOf(values, log) {
  const height = BOX.bottom - BOX.top, high = Math.max(...values), low = Math.min(...values);
  if (log) {
    const least = Math.min(...values.filter((one) => one > 0)), floor = Math.floor(Math.log10(least)), roof = Math.max(floor + 1, Math.ceil(Math.log10(high)));
    const y = (loss) => BOX.bottom - (height * (Math.log10(Math.max(loss, 10 ** floor)) - floor)) / (roof - floor);
    const step = Math.ceil((roof - floor) / 5), marks = [];
    for (let power = floor; power <= roof; power += step) marks.push([10 ** power, power < -3 ? `1e${power}` : String(Number((10 ** power).toPrecision(3)))]);
    return { y, marks };
  }
  const floor = Math.min(0, low), rough = (high - floor || 1) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough), first = Math.floor(floor / step), marks = [];
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  for (let mark = first; mark <= last; mark += 1) marks.push([mark * step, String(Number((mark * step).toPrecision(4)))]);
  return { y: (loss) => BOX.bottom - (height * (loss - first * step)) / ((last - first) * step), marks };
}

function look(at) { state.at = at; drawCurve(); }

$("curve").addEventListener("pointermove", (event) => {
  const box = $("curve").getBoundingClientRect(), wanted = (event.clientX - box.left) / box.width;
  const steps = JSON.parse($("curve").dataset.steps || "[]").map((one) => Math.abs(one - wanted));
  if (steps.length) look(steps.indexOf(Math.min(...steps)));
});
$("curve").addEventListener("pointerleave", () => look(null));
$("curve").addEventListener("keydown", (event) => {
  const count = points("train_loss").length, at = state.at ?? count - 1, by = { ArrowLeft: -1, ArrowRight: 1, Home: -count, End: count }[event.key];
  if (event.key === "Escape") look(null);
  if (by === undefined || !count) return;
  event.preventDefault();
  look(Math.min(count - 1, Math.max(0, at + by)));
});
$("curve").addEventListener("blur", () => look(null));
$("log").addEventListener("change", drawCurve);

// --- models and the playground ------------------------------------------------------------------------------------

async function showModels() {
  const models = (await read("/v1/models")).data;
  const deployed = new Map((await read("/deployments")).data.map((one) => [one.model, one.status]));
  const text = JSON.stringify([models, [...deployed]]);
  if ($("model-list").dataset.text === text) return;
  $("model-list").dataset.text = text;
  $("no-models").hidden = models.length > 0;
  $("model-table").hidden = !models.length;
  $("model-list").replaceChildren(...models.map((one) => {
    const row = make("tr"), tuned = one.id.startsWith("ft:"), status = deployed.get(one.id), cell = make("td");
    cell.append(status ? make("span", status, { class: `status ${status}` }) : make("span", tuned ? "starts when asked" : "base model", { class: "soft" }));
    const button = make("button", "Try it", { type: "button", "aria-label": `Try ${one.id}` }), last = make("td");
    button.addEventListener("click", () => { $(tuned ? "right" : "left").value = one.id; $("message").focus(); });
    last.append(button);
    row.append(make("td", one.id), make("td", tuned ? one.owned_by : "–"), cell, last);
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

async function ask(side, signal) {
  const model = $(side).value, into = $(`${side}-answer`), time = $(`${side}-time`), start = performance.now();
  into.classList.remove("error");
  into.textContent = model ? "…" : "No model to ask.";
  time.textContent = "";
  if (!model) return;
  const system = $("system").value.trim(), messages = [{ role: "user", content: $("message").value }];
  if (system) messages.unshift({ role: "system", content: system });
  const body = JSON.stringify({ model, stream: true, messages, temperature: Number($("temperature").value), max_tokens: Number($("tokens").value) });
  let said = "";
  try {
    const answer = await call("/v1/chat/completions", { method: "POST", signal, headers: { "content-type": "application/json" }, body });
    const first = performance.now();
    await lines(answer, (line) => (line === "data: [DONE]" ? true : line.startsWith("data: {") ? JSON.parse(line.slice(6)) : undefined), (events) => {
      for (const event of events) {
        if (event.error) throw new Error(event.error.message);
        said += event.choices[0]?.delta?.content ?? "";
      }
      into.textContent = said || "…";
      time.textContent = `${((first - start) / 1000).toFixed(2)} s to begin, ${((performance.now() - start) / 1000).toFixed(2)} s in all`;
    });
    if (!said) into.textContent = "(an empty answer)";
  } catch (error) {
    into.classList.toggle("error", error.name !== "AbortError");
    into.textContent = error.name === "AbortError" ? said || "(stopped)" : `Error: ${error.message}`;
  }
}

$("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (state.asking) return;
  state.asking = new AbortController();
  $("ask").disabled = true;
  $("stop").hidden = false;
  await Promise.all([ask("left", state.asking.signal), ask("right", state.asking.signal)]);
  state.asking = null;
  $("ask").disabled = false;
  $("stop").hidden = true;
});
$("stop").addEventListener("click", () => state.asking?.abort());
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
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("base").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
$("base").textContent = `${location.origin}/v1`;
refresh();
