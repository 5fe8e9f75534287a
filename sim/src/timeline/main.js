// Buttons, keys, the mouse, and when to draw.

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const tip = $("tip");
let asked = false;

function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
  });
}

function say(words) {
  $("said").textContent = words;
}

function select(id, shown = false) {
  view.selected = id;
  view.cone = id >= 0 ? cone(id, view.direct) : null;
  if (id >= 0) {
    if (shown) reveal(id);
    say(`${actors[events.actor[id]].name} ${kindOf(id)} at ${seconds(events.time[id])} seconds. ${text(id)}. Past ${view.cone.before}, future ${view.cone.after} events.`);
  }
  updatePanel();
  updateLabels();
  redraw();
}

function updateFilter() {
  filter();
  density = null;
  const all = events.count.toLocaleString("en");
  $("count").textContent = view.passed === events.count ? `${all} events` : `${view.passed.toLocaleString("en")} of ${all} events`;
  redraw();
}

// Lanes have their names as buttons, with the state at the selected event or at the violation.
function updateLabels() {
  const time = view.selected >= 0 ? events.time[view.selected] : violation >= 0 ? events.time[violation] : end;
  $("labels").replaceChildren(...actors.map((actor, lane) => {
    const { y, height } = view.lanes[lane];
    const button = element("button", undefined, { type: "button", "aria-pressed": String(view.shown[lane] === 1), title: `Hide or show ${actor.name}` });
    button.style.top = `${y + 1}px`;
    button.append(element("b", actor.name));
    const words = shortState(actor, lane, time);
    if (view.shown[lane] && height > 36 && words) button.append(element("small", words));
    button.onclick = () => {
      view.shown[lane] = 1 - view.shown[lane];
      resize();
      updateFilter();
      $("labels").children[lane].focus();
    };
    return button;
  }));
}

function shortState(actor, lane, time) {
  const rows = new Map(stateRows(lane, time));
  if (actor.kind === "master") return rows.has("role") ? `${rows.get("role")} ${rows.get("term")}` : "down";
  if (actor.kind === "executor") return rows.has("lease") ? `lease ${rows.get("lease")}` : "agent down";
  return "";
}

function resize() {
  view.width = Math.max(200, stage.clientWidth - 124);
  layout(stage.clientHeight);
  if (view.height > stage.clientHeight) view.width = Math.max(200, stage.clientWidth - 124);
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(view.width * ratio), Math.round(view.height * ratio)];
  [canvas.style.width, canvas.style.height] = [`${view.width}px`, `${view.height}px`];
  density = null;
  updateLabels();
  redraw();
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  readColors();
  kindColors = events.kinds.map(colorOf);
  updatePanel();
  redraw();
}

const reach = 9;

// The event that is nearest to a point, if it is near enough.
function nearest(left, y) {
  const lane = laneAt(y);
  if (violation >= 0 && y < axisHeight && Math.abs(left - x(events.time[violation])) < 62) return violation;
  if (lane < 0) return none;
  let [best, distance] = [none, reach];
  const until = lowest(events.time, timeAt(left + reach), events.count);
  for (let id = lowest(events.time, timeAt(left - reach), events.count); id < until; id++) {
    if (events.actor[id] !== lane || !view.visible[id]) continue;
    const away = Math.abs(x(events.time[id]) - left);
    if (away < distance || (away === distance && view.cone?.marks[id])) [best, distance] = [id, away];
  }
  return best;
}

function hover(event) {
  const id = nearest(event.offsetX, event.offsetY);
  if (id !== view.hover) {
    view.hover = id;
    redraw();
  }
  tip.hidden = id < 0;
  if (id < 0) return;
  const words = text(id);
  tip.replaceChildren(element("b", `${actors[events.actor[id]].name} ${kindOf(id)}`), element("span", `  ${seconds(events.time[id])} s`), element("br"), words.length > 240 ? `${words.slice(0, 240)}…` : words);
  const left = event.offsetX + 124 + 14;
  tip.style.left = `${Math.max(130, Math.min(left, stage.clientWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${event.offsetY + 16 + tip.offsetHeight > view.height ? event.offsetY - tip.offsetHeight - 10 : event.offsetY + 16}px`;
}

function mouse() {
  let drag = null;
  canvas.onpointerdown = (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { at: event.clientX, from: view.from, to: view.to, moved: false };
  };
  canvas.onpointermove = (event) => {
    if (!drag) return hover(event);
    if (Math.abs(event.clientX - drag.at) > 3) drag.moved = true;
    if (!drag.moved) return;
    tip.hidden = true;
    canvas.classList.add("drags");
    const by = ((drag.at - event.clientX) / view.width) * (drag.to - drag.from);
    show(drag.from + by, drag.to + by);
    redraw();
  };
  canvas.onpointerup = (event) => {
    if (drag && !drag.moved) select(nearest(event.offsetX, event.offsetY));
    drag = null;
    canvas.classList.remove("drags");
  };
  canvas.onpointerleave = () => {
    tip.hidden = true;
    view.hover = none;
    redraw();
  };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : 0;
    if (sideways) move(sideways / view.width);
    else zoom(Math.exp(event.deltaY * 0.0016), timeAt(event.offsetX));
    redraw();
  }, { passive: false });
  const jump = (event) => {
    if (!(event.buttons & 1)) return;
    const at = (event.offsetX / overview.clientWidth) * end;
    const half = (view.to - view.from) / 2;
    show(at - half, at + half);
    redraw();
  };
  overview.onpointerdown = (event) => {
    overview.setPointerCapture(event.pointerId);
    jump(event);
  };
  overview.onpointermove = jump;
}

// The next event in a direction that passes the filter; of the same lane, if asked for.
function step(direction, sameLane) {
  let id = view.selected >= 0 ? view.selected : lowest(events.time, (view.from + view.to) / 2, events.count) - direction;
  const lane = view.selected >= 0 ? events.actor[view.selected] : none;
  do id += direction;
  while (id >= 0 && id < events.count && (!view.visible[id] || (sameLane && lane >= 0 && events.actor[id] !== lane)));
  if (id >= 0 && id < events.count) select(id, true);
}

function goToViolation() {
  showViolation();
  select(violation);
}

function changeCone(direct) {
  view.direct = direct;
  document.querySelector(`input[name=cone][value=${direct ? "direct" : "all"}]`).checked = true;
  select(view.selected);
}

const nextTheme = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
const keys = {
  ArrowLeft: (event) => move(event.shiftKey ? -1 : -0.12),
  ArrowRight: (event) => move(event.shiftKey ? 1 : 0.12),
  "+": () => zoom(0.6),
  "=": () => zoom(0.6),
  "-": () => zoom(1 / 0.6),
  0: () => show(begin, end),
  v: goToViolation,
  n: (event) => step(1, event.shiftKey),
  p: (event) => step(-1, event.shiftKey),
  N: () => step(1, true),
  P: () => step(-1, true),
  c: () => view.selected >= 0 && events.cause[view.selected] >= 0 && select(events.cause[view.selected], true),
  e: () => view.selected >= 0 && effectsOf(view.selected).length && select(effectsOf(view.selected)[0], true),
  m: () => $("arrows").click(),
  a: () => changeCone(!view.direct),
  t: nextTheme,
  "/": () => $("find").focus(),
  "?": () => $("dialog").showModal(),
  Escape: () => select(none),
};

function controls() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement && event.target.type === "search";
    if (typing && event.key === "Escape") return canvas.focus();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
    if (event.target instanceof HTMLInputElement && event.key.startsWith("Arrow")) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act(event);
    redraw();
  });
  $("pin").onclick = goToViolation;
  const then = (act) => () => {
    act();
    redraw();
  };
  $("zoom-in").onclick = then(() => zoom(0.6));
  $("zoom-out").onclick = then(() => zoom(1 / 0.6));
  $("fit").onclick = then(() => show(begin, end));
  $("theme").onclick = nextTheme;
  $("help").onclick = () => $("dialog").showModal();
  $("find").oninput = (event) => {
    view.find = event.target.value;
    updateFilter();
  };
  $("arrows").onchange = then(() => (view.arrows = $("arrows").checked));
  for (const radio of document.querySelectorAll("input[name=cone]")) radio.onchange = () => changeCone(radio.value === "direct");
  document.addEventListener("click", (event) => {
    if (!$("kinds").contains(event.target)) $("kinds").open = false;
  });
}

function kindList() {
  const counts = new Uint32Array(events.kinds.length);
  for (const kind of events.kind) counts[kind]++;
  const order = [...events.kinds.keys()].sort((one, other) => counts[other] - counts[one]);
  for (const kind of order) {
    const line = element("label", undefined, { className: "check" });
    const box = element("input", undefined, { type: "checkbox", checked: true, value: events.kinds[kind] });
    box.onchange = () => {
      view.kinds[kind] = box.checked ? 1 : 0;
      updateFilter();
    };
    line.append(box, events.kinds[kind], element("small", counts[kind].toLocaleString("en")));
    $("kind-list").append(line);
  }
}

function start() {
  document.body.toggleAttribute("data-failed", violation >= 0);
  $("rule").textContent = data.violation?.rule ?? "No rule was broken";
  $("message").textContent = $("message").title = data.violation?.message ?? `${seconds(end, 3)} simulated seconds of seed ${data.seed}`;
  $("pin").textContent = violation >= 0 ? `Violation at ${seconds(events.time[violation], 3)} s` : "";
  $("pin").hidden = violation < 0;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.onchange = () => setTheme(dark.matches ? "dark" : "light");
  resize();
  showViolation();
  setTheme(dark.matches ? "dark" : "light");
  kindList();
  updateFilter();
  controls();
  mouse();
  new ResizeObserver(resize).observe(stage);
  draw();
  // For the console, and for the test in a browser.
  window.timeline = { data, events, messages, view, stats, select, nearest, show, draw, x, violation, ready: performance.now() };
}

start();
