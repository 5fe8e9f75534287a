// Draws events, messages, the axis, the violation and the overview: whatever lies over the lanes.

const sends = new Set(["send", "ask", "answer", "call", "reply"]);
const colorOf = (kind) => {
  if (kind === "violation") return colors.red;
  if (kind === "fault" || kind === "fault end" || kind === "settle") return colors.violet;
  if (["crash", "power", "stop", "kill", "guard", "gives up", "reset"].includes(kind)) return colors.amber;
  if (["write", "disk", "spawn", "up", "down"].includes(kind)) return colors.green;
  return colors.accent;
};
let kindColors = [];

// 0 = no event is selected, 1 = outside of the cone, 2 = past, 3 = future, 4 = the event itself.
function depth(id) {
  if (view.selected < 0) return 0;
  if (id === view.selected) return 4;
  return view.cone.marks[id] + 1;
}

function drawMessages() {
  const first = lowest(messages.latest, view.from, messages.count);
  const last = lowestSent(view.to);
  // The more there are in the window, the fewer of each pair of lanes are drawn.
  const spacing = Math.max(1.5, ((last - first) / arrowsMost) * 3);
  stats.thinned = last - first > arrowsMost;
  const strength = stats.thinned ? 0.2 : 0.38;
  const drawn = new Map();
  for (let at = first; at < last; at++) {
    if (messages.arrives[at] < view.from || !messageVisible(at)) continue;
    const from = messages.from[at];
    const by = messages.by[at];
    const inCone = view.selected >= 0 && depth(from) > 1 && (by < 0 || depth(by) > 1);
    if (!inCone) {
      if (!view.arrows || stats.arrows >= arrowsMost) continue;
      const pair = events.actor[from] * 64 + (messages.to[at] + 1) + (messages.fate[at] === 3 ? 0 : 4096);
      const left = x(events.time[from]);
      if (left - (drawn.get(pair) ?? -99) < spacing) continue;
      drawn.set(pair, left);
    }
    drawArrow(at, inCone, strength);
  }
  return last - first;
}

// Messages are in the order of their sending.
function lowestSent(time) {
  let [low, high] = [0, messages.count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events.time[messages.from[middle]] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawArrow(at, inCone, strength) {
  const [from, to, fate] = [messages.from[at], messages.to[at], messages.fate[at]];
  const [x1, y1] = [x(events.time[from]), view.lanes[events.actor[from]].line];
  const lost = fate < 2;
  let x2 = fate === 0 ? x1 + 16 : x(messages.arrives[at]);
  let y2 = to >= 0 ? view.lanes[to].line : y1 - 14;
  const by = messages.by[at];
  const role = by >= 0 ? depth(by) : depth(from);
  const color = lost ? colors.red : inCone ? (role === 3 || depth(from) >= 3 ? colors.green : colors.accent) : colors.soft;
  pen.globalAlpha = inCone ? 0.95 : view.selected >= 0 ? 0.12 : lost ? strength + 0.17 : strength;
  pen.strokeStyle = color;
  pen.lineWidth = inCone ? 1.8 : 1;
  if (fate === 2) pen.setLineDash([3, 3]);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  const angle = Math.atan2(y2 - y1, x2 - x1);
  if (lost) {
    for (const turn of [0.785, -0.785, 2.356, -2.356]) {
      pen.moveTo(x2, y2);
      pen.lineTo(x2 + 3.5 * Math.cos(turn), y2 + 3.5 * Math.sin(turn));
    }
  } else if (inCone || Math.abs(x2 - x1) > 3) {
    for (const turn of [2.65, -2.65]) {
      pen.moveTo(x2, y2);
      pen.lineTo(x2 + 6 * Math.cos(angle + turn), y2 + 6 * Math.sin(angle + turn));
    }
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  stats.arrows++;
  stats.items++;
}

function drawEvents() {
  const taken = new Int32Array(actors.length).fill(-9);
  const takenInCone = new Int32Array(actors.length).fill(-9);
  const until = lowest(events.time, view.to + 1, events.count);
  const first = lowest(events.time, view.from, events.count);
  const size = until - first > view.width * 2 ? 1.7 : 2.6;
  for (let id = first; id < until; id++) {
    if (!view.visible[id] || id === violation) continue;
    const lane = events.actor[id];
    const left = Math.round(x(events.time[id]));
    const far = depth(id);
    const seen = far > 1 ? takenInCone : taken;
    if (far !== 4 && left - seen[lane] < 2) continue;
    seen[lane] = left;
    dot(left, view.lanes[lane].line, far, kindColors[events.kind[id]], size);
  }
  if (view.selected >= 0 && view.selected !== violation) ring(view.selected);
}

function dot(left, y, far, color, size) {
  pen.globalAlpha = far === 1 ? 0.16 : 1;
  pen.fillStyle = far === 2 ? colors.accent : far === 3 ? colors.green : color;
  pen.beginPath();
  pen.arc(left, y, far > 1 ? 3.6 : size, 0, 6.2832);
  pen.fill();
  pen.globalAlpha = 1;
  stats.dots++;
  stats.items++;
}

function ring(id) {
  pen.strokeStyle = colors.ink;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.arc(x(events.time[id]), view.lanes[events.actor[id]].line, 6.5, 0, 6.2832);
  pen.stroke();
}

// A step of 1, 2 or 5 that leaves room for its numbers.
function tick() {
  const wanted = ((view.to - view.from) / view.width) * 96;
  const unit = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((times) => times * unit).find((step) => step >= wanted);
}

function drawAxis() {
  rect(colors.paper, 0, 0, view.width, axisHeight);
  const step = tick();
  // The violation's flag stands there.
  const flagged = violation >= 0 ? x(events.time[violation]) : -999;
  const digits = Math.max(0, Math.min(9, 9 - Math.floor(Math.log10(step))));
  for (let time = Math.ceil(view.from / step) * step; time <= view.to; time += step) {
    const left = Math.round(x(time)) + 0.5;
    rect(colors.line, left - 0.5, axisHeight - 5, 1, view.height);
    if (flagged > left - 76 && flagged < left + 60) continue;
    label(`${seconds(time, digits)} s`, left + 4, axisHeight - 8, 92, colors.soft, 11);
  }
  rect(colors.line, 0, axisHeight - 1, view.width, 1);
  const settle = x(data.settle);
  if (data.settle < end && settle > 0 && settle < view.width) {
    rect(colors.violet, settle, axisHeight, 1, view.height, 0.5);
    label("faults are over", settle + 5, view.height - 6, 120, colors.violet, 10.5);
  }
}

// The violation: a line over all lanes, and a flag on the axis.
function drawViolation() {
  if (violation < 0) return;
  const left = x(events.time[violation]);
  if (left < -60 || left > view.width + 60) return;
  rect(colors.red, left - 0.75, 4, 1.5, view.height);
  pen.font = font(11, 600);
  const words = "violation";
  const width = pen.measureText(words).width + 14;
  const flag = left + width > view.width ? left - width : left;
  rect(colors.red, flag, 4, width, 19);
  pen.fillStyle = colors.paper;
  pen.fillText(words, flag + 7, 17.5);
  if (view.selected === violation) {
    pen.strokeStyle = colors.ink;
    pen.lineWidth = 2;
    pen.strokeRect(flag, 4, width, 19);
  }
}

function drawLanes() {
  for (const [lane, place] of view.lanes.entries()) {
    if (lane % 2 === 0) rect(colors.band, 0, place.y, view.width, place.height);
    rect(colors.line, 0, place.y + place.height - 1, view.width, 1, 0.7);
    if (view.shown[lane]) rect(colors.line, 0, place.line, view.width, 1);
  }
}

function draw() {
  const started = performance.now();
  Object.assign(stats, { items: 0, dots: 0, arrows: 0 });
  const ratio = window.devicePixelRatio || 1;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, view.width, view.height);
  pen.textBaseline = "alphabetic";
  drawLanes();
  drawFaults();
  drawAxis();
  for (const [lane, actor] of actors.entries()) {
    if (!view.shown[lane]) continue;
    if (actor.kind === "master") drawMaster(view.lanes[lane], actor.place);
    if (actor.kind === "executor") drawExecutor(view.lanes[lane], actor.place);
    if (actor.kind === "client") drawClient(view.lanes[lane], actor.place);
  }
  drawFaultNames();
  drawMessages();
  drawEvents();
  drawViolation();
  if (view.hover >= 0) ring(view.hover);
  drawOverview();
  stats.frames++;
  stats.milliseconds = performance.now() - started;
}

let density = null;

// How much happens when, the faults, the violation, and which part is seen.
function drawOverview() {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [overview.clientWidth, overview.clientHeight];
  if (overview.width !== Math.round(width * ratio)) {
    [overview.width, overview.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    density = null;
  }
  if (!density) {
    density = new Uint32Array(Math.max(1, width));
    for (let id = 0; id < events.count; id++) {
      if (view.visible[id]) density[Math.min(width - 1, Math.floor((events.time[id] / end) * width))]++;
    }
  }
  const small = overview.getContext("2d");
  small.setTransform(ratio, 0, 0, ratio, 0, 0);
  small.fillStyle = colors.paper;
  small.fillRect(0, 0, width, height);
  const most = density.reduce((one, other) => Math.max(one, other), 1);
  small.fillStyle = colors.faint;
  for (let left = 0; left < width; left++) {
    const size = density[left] ? 2 + (Math.log1p(density[left]) / Math.log1p(most)) * (height - 18) : 0;
    small.fillRect(left, height - 4 - size, 1, size);
  }
  small.fillStyle = colors.violet;
  small.globalAlpha = 0.5;
  for (const band of bands) small.fillRect((band.from / end) * width, 4, Math.max(2, ((band.to - band.from) / end) * width), 3);
  small.globalAlpha = 1;
  if (violation >= 0) {
    small.fillStyle = colors.red;
    small.fillRect(Math.min(width - 2, (events.time[violation] / end) * width), 0, 2, height);
  }
  const [left, right] = [(view.from / end) * width, (view.to / end) * width];
  small.fillStyle = colors.accent;
  small.globalAlpha = 0.14;
  small.fillRect(left, 0, Math.max(3, right - left), height);
  small.globalAlpha = 1;
  small.strokeStyle = colors.accent;
  small.strokeRect(left + 0.5, 0.5, Math.max(3, right - left) - 1, height - 1);
}
