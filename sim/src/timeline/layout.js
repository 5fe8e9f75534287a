// What is seen: the window of time, the lanes and their places, and what is filtered.

const view = {
  from: begin,
  to: end,
  selected: none,
  hover: none,
  cone: null,
  direct: true,
  arrows: true,
  width: 0,
  height: 0,
  lanes: [],
  faultRows: 0,
  // Actors that are shown, and events that pass all filters.
  shown: new Uint8Array(actors.length).fill(1),
  kinds: new Uint8Array(events.kinds.length).fill(1),
  find: "",
  visible: new Uint8Array(events.count).fill(1),
  passed: events.count,
};

const axisHeight = 30;
const faultHeight = 17;
const heights = { cluster: 26, master: 66, executor: 52, client: 36 };
const hiddenHeight = 18;
// Lanes are pressed together to this share at most; then the stage scrolls.
const leastShare = 0.62;

const x = (time) => ((time - view.from) / (view.to - view.from)) * view.width;
const timeAt = (place) => view.from + (place / view.width) * (view.to - view.from);

// Rows of fault names: each band in the first row where it has room. A name needs room of its own, so that it depends
// on the zoom: the rows are those of the whole run, and names are cut.
const bands = data.bands.map((band, place) => ({ ...band, place, row: 0 }));
(() => {
  const ends = [];
  for (const band of bands) {
    let row = ends.findIndex((until) => until <= band.from);
    if (row < 0) row = ends.push(0) - 1;
    ends[row] = Math.max(band.to, band.from + (end - begin) / 400);
    band.row = Math.min(row, 3);
  }
  view.faultRows = Math.min(ends.length, 4);
})();

// The most attempts that ran at once on each executor: so many rows it needs.
const runRows = data.executors.map((rows) => rows.reduce((most, row) => Math.max(most, row[6].length), 1));

function layout(room) {
  const top = axisHeight + view.faultRows * faultHeight + (view.faultRows ? 8 : 0);
  const wanted = actors.map((actor, lane) => {
    if (!view.shown[lane]) return hiddenHeight;
    const extra = actor.kind === "executor" ? 9 * (Math.min(runRows[actor.place], 6) - 1) : 0;
    return heights[actor.kind] + extra;
  });
  const total = wanted.reduce((sum, height) => sum + height, 0);
  const share = Math.min(1.35, Math.max(leastShare, (room - top - 6) / total));
  let y = top;
  view.lanes = actors.map((actor, lane) => {
    const height = view.shown[lane] ? Math.floor(wanted[lane] * share) : hiddenHeight;
    const place = { y, height, line: y + height - (actor.kind === "cluster" ? height / 2 : Math.min(12, height * 0.22)) };
    y += height;
    return place;
  });
  view.height = Math.max(room, y + 6);
}

function laneAt(y) {
  return view.lanes.findIndex((lane) => y >= lane.y && y < lane.y + lane.height);
}

// A text is looked for in each different text once, not in each event.
function filter() {
  const wanted = view.find.trim().toLowerCase();
  const has = wanted ? data.texts.map((text) => text.toLowerCase().includes(wanted)) : null;
  const kind = events.kinds.map((name) => name.toLowerCase().includes(wanted));
  view.passed = 0;
  for (let id = 0; id < events.count; id++) {
    const pass =
      view.shown[events.actor[id]] && view.kinds[events.kind[id]] && (!has || has[events.text[id]] || kind[events.kind[id]]);
    view.visible[id] = pass ? 1 : 0;
    view.passed += view.visible[id];
  }
}

function messageVisible(at) {
  const [from, by, to] = [messages.from[at], messages.by[at], messages.to[at]];
  const ends = view.shown[events.actor[from]] && (to < 0 || view.shown[to]);
  return ends && (view.visible[from] || (by >= 0 && view.visible[by]));
}

// The window stays within the run, with a little room on both sides, and is never shorter than a microsecond.
function show(from, to) {
  const room = (end - begin) * 0.04;
  let span = Math.min(Math.max(to - from, 1000), end - begin + 2 * room);
  from = Math.min(Math.max(from, begin - room), end + room - span);
  [view.from, view.to] = [from, from + span];
}

function zoom(factor, at = (view.from + view.to) / 2) {
  show(at - (at - view.from) * factor, at + (view.to - at) * factor);
}

function move(share) {
  const by = (view.to - view.from) * share;
  show(view.from + by, view.to + by);
}

// Enough before the violation to see what led to it.
const eventsBefore = 260;
function showViolation() {
  if (violation < 0) return show(begin, end);
  const at = events.time[violation];
  const first = events.time[Math.max(0, violation - eventsBefore)];
  const span = Math.max(at - first, 20e6);
  show(at - span, at + span * 0.14);
}

// Brings an event into the window without a change of zoom.
function reveal(id) {
  const at = events.time[id];
  const span = view.to - view.from;
  if (at < view.from + span * 0.05 || at > view.to - span * 0.05) show(at - span / 2, at + span / 2);
}
