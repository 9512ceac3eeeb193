// The items that one candidate has right and another has not.
(() => {
  const at = (id) => document.getElementById(id);
  const list = at("flip-list");
  if (!list) return;
  const items = JSON.parse(at("items").textContent);
  const page = 10;
  let shown = page;

  const wanted = (item, a, b, kind) => {
    const one = item.right[a], two = item.right[b];
    if (kind === "won") return one > two;
    if (kind === "lost") return one < two;
    if (kind === "both") return one >= 0.5 && two >= 0.5;
    if (kind === "none") return one < 0.5 && two < 0.5;
    return true;
  };

  const line = (body, name, text, shade) => {
    const term = document.createElement("dt"), said = document.createElement("dd");
    term.textContent = name;
    said.textContent = text === "" ? "(empty)" : text;
    if (shade) said.className = shade;
    body.append(term, said);
  };

  const card = (item, a, b) => {
    const box = document.createElement("div"), body = document.createElement("dl");
    box.className = "card flip";
    body.className = "answer";
    line(body, "asked", item.question);
    line(body, "expected", item.reference);
    for (const name of a === b ? [a] : [a, b]) {
      line(body, name, item.answers[name], item.right[name] >= 0.5 ? "right" : "wrong");
    }
    box.append(body);
    return box;
  };

  const draw = () => {
    const a = at("flip-a").value, b = at("flip-b").value, kind = at("flip-kind").value;
    const find = at("flip-find").value.trim().toLowerCase();
    const found = items.filter((item) => wanted(item, a, b, kind)
      && (!find || (item.question + item.reference + item.answers[a] + item.answers[b]).toLowerCase().includes(find)));
    list.replaceChildren(...found.slice(0, shown).map((item) => card(item, a, b)));
    at("flip-count").textContent = `${found.length} of ${items.length} items`;
    at("flip-more").hidden = found.length <= shown;
  };

  for (const id of ["flip-a", "flip-b", "flip-kind", "flip-find"]) {
    at(id).addEventListener("input", () => { shown = page; draw(); });
  }
  at("flip-more").addEventListener("click", () => { shown += page; draw(); });
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  draw();
})();
