// The details of an event, or of the whole run. All text goes in as text, never as markup.

const panel = document.getElementById("panel");

function element(tag, words, props = {}) {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  for (const [name, value] of Object.entries(props)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  return made;
}

// A line that leads to an event.
function goTo(id) {
  const made = element("button", undefined, { type: "button", className: "go", title: text(id), onclick: () => select(id, true) });
  made.append(element("b", `${actors[events.actor[id]].name} ${kindOf(id)}`), " ", element("span", text(id)));
  return made;
}

function heading(words, level = "h3") {
  panel.append(element(level, words));
}

function table(rows) {
  const made = element("table");
  for (const [name, value] of rows) {
    const row = element("tr");
    row.append(element("th", name, { scope: "row" }), element("td", value));
    made.append(row);
  }
  panel.append(made);
}

function stateRows(lane, time) {
  const { kind, place } = actors[lane];
  if (kind === "master") {
    const row = data.masters[place][stateAt(data.masters[place], time)];
    if (!row || !row[1]) return [["process", "down"]];
    return [
      ["role", `${roles[row[4]]}${row[2] ? ", paused" : ""}`], ["term", row[5]], ["leader", row[6] ? `node ${row[6]}` : "none known"],
      ["commit, applied", `${row[7]}, ${row[8]}`], ["durable, last", `${row[9]}, ${row[10]}`],
    ];
  }
  if (kind === "executor") {
    const row = data.executors[place][stateAt(data.executors[place], time)];
    if (!row || !row[1]) return [["agent", "down"]];
    const runs = row[6].map((run) => data.texts[run]).join(", ");
    const lease = row[3] ? "fenced" : row[5] ? `${seconds(row[5] - time, 2)} s left` : "none";
    return [["executor", row[4] || "not registered"], ["lease", `${lease}${row[2] ? ", paused" : ""}`], ["runs", runs || "nothing"]];
  }
  if (kind === "client") {
    const row = data.clients[place].findLast((row) => row[0] <= time);
    return row ? [["asks for", data.texts[row[2]]], ["answer", row[1] >= 0 && row[1] <= time ? data.texts[row[3]] || "none" : "waits"]] : [];
  }
  return [];
}

const effectsShown = 12;

function eventPanel(id) {
  const lane = events.actor[id];
  const time = events.time[id];
  heading(`${actors[lane].name}: ${kindOf(id)}`, "h2");
  const relative = violation >= 0 && id !== violation ? `, ${length(events.time[violation] - time)} before the violation` : "";
  panel.append(element("p", `event ${id + data.left_out} at ${seconds(time, 9)} s${relative}`, { className: "time" }));
  if (text(id)) panel.append(element("pre", text(id)));
  const rows = stateRows(lane, time);
  if (rows.length) {
    heading("State then");
    table(rows);
  }
  messagePart(id);
  heading("Led to it");
  if (events.cause[id] >= 0) panel.append(goTo(events.cause[id]));
  else panel.append(element("p", "the plan", { className: "time" }));
  const after = effectsOf(id);
  heading(after.length ? `Came of it (${after.length})` : "Nothing came of it");
  for (const effect of after.subarray(0, effectsShown)) panel.append(goTo(effect));
  if (after.length > effectsShown) panel.append(element("p", `and ${after.length - effectsShown} more`, { className: "time" }));
  heading("Cone");
  const what = view.direct ? "direct causes" : "all that could matter";
  const cone = element("p");
  const key = (color) => element("span", "", { className: "key", style: `background:${color}` });
  cone.append(key(colors.accent), `past ${view.cone.before}`, element("span", "", { className: "gap" }), key(colors.green), `future ${view.cone.after}`);
  panel.append(cone, element("p", what, { className: "time" }));
}

const fates = ["lost", "arrived where nobody took it", "still on its way at the end", "received"];

function messagePart(id) {
  if (!sends.has(kindOf(id))) return;
  const rows = [];
  for (let at = firstMessageOf(id); at < messages.count && messages.from[at] === id; at++) {
    const whom = messages.to[at] >= 0 ? actors[messages.to[at]].name : "";
    const took = messages.fate[at] === 3 ? ` after ${length(messages.arrives[at] - events.time[id])}` : "";
    rows.push([rows.length ? "message, again" : "message", `${fates[messages.fate[at]]}${whom ? ` by ${whom}` : ""}${took}`]);
  }
  if (rows.length) table(rows);
}

function firstMessageOf(id) {
  let [low, high] = [0, messages.count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (messages.from[middle] < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

function runPanel() {
  heading(data.violation ? "What failed" : "Nothing failed", "h2");
  if (data.violation) {
    panel.append(element("p", `at ${seconds(events.time[violation], 9)} s, step ${data.violation.step}`, { className: "time" }));
    panel.append(element("pre", data.violation.message), goTo(violation));
  }
  heading("Run it again");
  panel.append(element("pre", data.command));
  const copy = element("button", "Copy", { type: "button" });
  copy.onclick = () => {
    const done = () => say(copy.textContent = "Copied");
    navigator.clipboard?.writeText(data.command).then(done, () => say("the command could not be copied"));
  };
  panel.append(copy);
  heading(bands.length ? `Faults (${bands.length})` : "No faults");
  for (const band of bands) {
    const made = element("button", undefined, { type: "button", className: "go", title: band.text });
    made.onclick = () => {
      const span = Math.max(band.to - band.from, 20e6);
      show(band.from - span * 0.5, band.to + span * 0.5);
      redraw();
    };
    made.append(element("b", band.name), " ", element("span", `${seconds(band.from, 3)} s for ${length(band.to - band.from)}${band.effective ? "" : ", no effect"}`));
    panel.append(made);
  }
  heading("Run");
  table([
    ["seed", data.seed], ["hash", data.hash], ["simulated", `${seconds(end, 3)} s`],
    ["events", (events.count + data.left_out).toLocaleString("en")], ["messages", messages.count.toLocaleString("en")],
  ]);
  if (data.left_out) panel.append(element("p", `The first ${data.left_out} events are left out.`, { className: "time" }));
  heading("Key");
  for (const [color, words] of [
    ["accent-soft", "leader; an answered operation"], ["amber-soft", "candidate; fenced; outcome unknown"],
    ["green-soft", "lease"], ["green", "what runs; what is committed"], ["violet", "fault"], ["red", "lost message; violation"],
  ]) {
    const line = element("p");
    line.append(element("span", "", { className: "key", style: `background:${colors[color]}` }), words);
    panel.append(line);
  }
}

function updatePanel() {
  panel.replaceChildren();
  panel.scrollTop = 0;
  if (view.selected >= 0) eventPanel(view.selected);
  else runPanel();
}
