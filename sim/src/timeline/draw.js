// Draws what is seen. Each pixel of a lane has one dot at most, and of arrows only so many as can be told apart, so that
// a frame costs the same whether a run has a thousand events or a hundred thousand.

const canvas = document.getElementById("canvas");
const overview = document.getElementById("overview");
const pen = canvas.getContext("2d");
const colors = {};
const stats = { frames: 0, items: 0, dots: 0, arrows: 0, thinned: false, milliseconds: 0 };
const arrowsMost = 2500;
const font = (size, weight = 400) => `${weight} ${size}px ${colors.font}`;

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of [
    "paper", "raised", "ink", "soft", "faint", "line", "band", "accent", "accent-soft", "amber", "amber-soft", "red",
    "red-soft", "green", "green-soft", "violet", "idle", "font",
  ]) colors[name] = style.getPropertyValue(`--${name}`).trim();
}

function rect(color, left, top, width, height, alpha = 1) {
  pen.globalAlpha = alpha;
  pen.fillStyle = color;
  pen.fillRect(left, top, width, height);
  pen.globalAlpha = 1;
  stats.items++;
}

// As much of a text as fits.
function label(words, left, baseline, room, color, size = 11, weight = 400) {
  if (room < 26 || !words) return;
  pen.font = font(size, weight);
  const width = pen.measureText(words).width;
  let shown = words;
  if (width > room) shown = `${words.slice(0, Math.max(1, Math.floor((words.length * room) / width) - 1))}…`;
  if (shown.length < 5 && shown !== words) return;
  pen.fillStyle = color;
  pen.fillText(shown, left, baseline);
  stats.items++;
}

function stripes(left, top, width, height, color) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, width, height);
  pen.clip();
  pen.strokeStyle = color;
  pen.globalAlpha = 0.6;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let at = Math.floor(left / 6) * 6 - height; at < left + width; at += 6) {
    pen.moveTo(at, top + height);
    pen.lineTo(at + height, top);
  }
  pen.stroke();
  pen.restore();
  stats.items++;
}

// Calls back for each stretch of equal state in the window. Those that are too short to be seen become one.
function stretches(rows, same, each) {
  let at = Math.max(0, stateAt(rows, view.from));
  while (at < rows.length && rows[at][0] <= view.to) {
    let next = at + 1;
    while (next < rows.length && (same(rows[at], rows[next]) || x(rows[next][0]) - x(rows[at][0]) < 1)) next++;
    const until = next < rows.length ? rows[next][0] : end;
    const left = Math.max(-4, x(rows[at][0]));
    const right = Math.min(view.width + 4, x(until));
    if (right > left) each(rows[at], left, right - left);
    at = next;
  }
}

const roles = ["down", "follower", "candidate", "leader"];

function drawMaster(lane, place) {
  const rows = data.masters[place];
  const strip = Math.max(13, Math.min(17, lane.height * 0.28));
  const top = lane.y + 5;
  const same = (a, b) => a[1] === b[1] && a[2] === b[2] && a[4] === b[4] && a[5] === b[5];
  stretches(rows, same, (row, left, width) => {
    const [, up, paused, gone, role, term] = row;
    const fill = [colors.paper, colors.idle, colors["amber-soft"], colors["accent-soft"]][role];
    const ink = [colors.faint, colors.soft, colors.amber, colors.accent][role];
    rect(fill, left, top, Math.max(0.5, width - 1), strip);
    if (role === 3) rect(colors.accent, left, top, Math.max(0.5, width - 1), 2);
    if (!up) stripes(left, top, width, strip, colors.line);
    if (paused) stripes(left, top, width, strip, colors.amber);
    const words = up ? `${paused ? "paused " : ""}${roles[role]} · term ${term}` : gone ? "gone for good" : "down";
    label(words, Math.max(left, 0) + 5, top + strip - 4, Math.min(left + width, view.width) - Math.max(left, 0) - 8, ink, 11, role === 3 ? 600 : 400);
  });
  drawCommit(lane, rows, top + strip + 4, lane.line - 7);
}

const lastIndex = data.masters.flat().reduce((most, row) => Math.max(most, row[10]), 1);

// Two steps: what is in the log, and what of it is committed.
function drawCommit(lane, rows, top, bottom) {
  if (bottom - top < 6 || !rows.length) return;
  const y = (index) => bottom - (Math.min(index, lastIndex) / lastIndex) * (bottom - top);
  for (const [column, color, line] of [[10, colors.faint, 1], [7, colors.green, 1.5]]) {
    pen.beginPath();
    let drawn = -9;
    stretches(rows, (a, b) => a[column] === b[column] && a[1] === b[1], (row, left, width) => {
      if (!row[1]) return (drawn = -9);
      if (drawn === left) pen.lineTo(left, y(row[column]));
      else pen.moveTo(left, y(row[column]));
      pen.lineTo(left + width, y(row[column]));
      drawn = left + width;
      stats.items++;
    });
    pen.strokeStyle = color;
    pen.lineWidth = line;
    pen.stroke();
  }
  let free = -1;
  stretches(rows, (a, b) => a[7] === b[7] && a[1] === b[1], (row, left, width) => {
    if (!row[1] || width < 18 || left < free || !row[7]) return;
    label(`${row[7]}`, Math.max(left, 0) + 3, Math.max(top + 8, Math.min(bottom + 1, y(row[7]) - 3)), width, colors.green, 10);
    free = left + 34;
  });
}

function drawExecutor(lane, place) {
  const rows = data.executors[place];
  const top = lane.y + 5;
  const strip = 9;
  const same = (a, b) => a[1] === b[1] && a[2] === b[2] && a[3] === b[3] && a[4] === b[4] && a[5] > 0 === b[5] > 0;
  stretches(rows, same, (row, left, width) => {
    const [, up, paused, fenced, id, lease] = row;
    if (!up) return stripes(left, top, width, strip, colors.line);
    rect(fenced ? colors["amber-soft"] : lease ? colors["green-soft"] : colors.idle, left, top, Math.max(0.5, width - 1), strip);
    if (paused) stripes(left, top, width, strip, colors.amber);
    const words = `${paused ? "paused, " : ""}${fenced ? "fenced" : lease ? `executor ${id}, lease` : "no lease"}`;
    label(words, Math.max(left, 0) + 5, top + 8, Math.min(left + width, view.width) - Math.max(left, 0) - 8, colors.soft, 9.5);
  });
  // Where the lease, as it was at a time, would end: the right edge of what a partition leaves.
  const at = stateAt(rows, Math.min(view.to, end));
  if (at >= 0 && rows[at][1] && rows[at][5] > view.from && rows[at][5] < view.to) rect(colors.green, x(rows[at][5]), top, 1.5, strip);
  drawRuns(rows, top + strip + 3, lane.line - 6);
}

// One bar for each attempt while it runs.
function drawRuns(rows, top, bottom) {
  const height = Math.min(11, Math.max(5, (bottom - top) / 2));
  const slots = [];
  const open = new Map();
  const close = (run, until) => {
    const { row, from } = open.get(run);
    open.delete(run);
    slots[row] = undefined;
    const left = Math.max(-4, x(from));
    const width = Math.min(view.width + 4, x(until)) - left;
    if (width <= 0 || top + row * (height + 1) + height > bottom + 4) return;
    rect(colors.green, left, top + row * (height + 1), Math.max(1, width - 1), height, 0.8);
    label(data.texts[run], Math.max(left, 0) + 4, top + row * (height + 1) + height - 2, width - 6, colors.paper, Math.min(10, height - 1), 600);
  };
  const first = Math.max(0, stateAt(rows, view.from));
  for (let at = first; at < rows.length && rows[at][0] <= view.to; at++) {
    const runs = rows[at][6];
    for (const run of [...open.keys()]) if (!runs.includes(run)) close(run, rows[at][0]);
    for (const run of runs) {
      if (open.has(run)) continue;
      let row = slots.findIndex((slot) => slot === undefined);
      if (row < 0) row = slots.length;
      slots[row] = run;
      open.set(run, { row, from: at === first ? Math.min(rows[at][0], view.from) : rows[at][0] });
    }
  }
  const after = rows[stateAt(rows, view.to) + 1];
  for (const run of [...open.keys()]) close(run, after ? view.to + 1 : end);
}

function drawClient(lane, place) {
  const top = lane.y + 5;
  const height = Math.max(9, lane.line - 6 - top);
  let last = -9;
  for (const [from, until, request, answer, unknown] of data.clients[place]) {
    const to = until < 0 ? end : until;
    if (to < view.from || from > view.to) continue;
    const left = Math.max(-4, x(from));
    const right = Math.min(view.width + 4, x(to));
    if (right - last < 1.5) continue;
    last = right;
    const open = until < 0;
    rect(open ? colors.idle : unknown ? colors["amber-soft"] : colors["accent-soft"], left, top, Math.max(1, right - left - 1), height);
    if (open) stripes(left, top, right - left, height, colors.faint);
    const words = `${data.texts[request]}${answer && data.texts[answer] ? ` → ${data.texts[answer]}` : ""}`;
    label(words, Math.max(left, 0) + 5, top + height / 2 + 4, right - Math.max(left, 0) - 8, unknown ? colors.amber : colors.ink, 10.5);
  }
}

function drawFaults() {
  for (const band of bands) {
    if (band.to < view.from || band.from > view.to) continue;
    const left = Math.max(-4, x(band.from));
    const width = Math.max(2, Math.min(view.width + 4, x(band.to)) - left);
    if (band.effective) for (const lane of band.touches) {
      const { y, height } = view.lanes[lane] ?? { y: 0, height: 0 };
      if (view.shown[lane]) rect(colors.violet, left, y + 1, width, height - 2, 0.09);
    }
  }
}

function drawFaultNames() {
  for (const band of bands) {
    if (band.to < view.from || band.from > view.to) continue;
    const left = Math.max(-4, x(band.from));
    const width = Math.max(2, Math.min(view.width + 4, x(band.to)) - left);
    const top = axisHeight + 2 + band.row * faultHeight;
    rect(colors.violet, left, top, width, faultHeight - 3, band.effective ? 0.22 : 0.08);
    rect(colors.violet, left, top, Math.min(2, width), faultHeight - 3, band.effective ? 1 : 0.4);
    const room = nextIn(band) - Math.max(left, 0) - 8;
    label(band.effective ? band.name : `${band.name} (no effect)`, Math.max(left, 0) + 6, top + 11, Math.min(room, 170), colors.violet, 10.5, 600);
  }
}

// Where the next fault of the same row begins: its name may be as long.
function nextIn(band) {
  const next = bands.find((other) => other.row === band.row && other.from > band.from);
  return next ? x(next.from) : view.width;
}
