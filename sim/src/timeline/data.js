// Reads the columns, and answers questions about causes.

const data = JSON.parse(document.getElementById("data").textContent);
const none = -1;
const events = (() => {
  const { time, actor, kind, text, cause, term, commit, kinds } = data.events;
  const count = time.length;
  const all = {
    count, kinds,
    time: new Float64Array(count),
    actor: Uint8Array.from(actor),
    kind: Uint8Array.from(kind),
    text: Uint32Array.from(text),
    cause: new Int32Array(count),
    term: Uint32Array.from(term),
    commit: Uint32Array.from(commit),
  };
  let now = 0;
  for (let id = 0; id < count; id++) {
    now += time[id];
    all.time[id] = now;
    all.cause[id] = cause[id] ? id - cause[id] : none;
  }
  return all;
})();
const messages = (() => {
  const { from, to, takes, fate, by } = data.messages;
  const count = from.length;
  const all = {
    count,
    from: Uint32Array.from(from),
    to: Int16Array.from(to),
    arrives: new Float64Array(count),
    fate: Uint8Array.from(fate),
    by: Int32Array.from(by),
    // The latest arrival of all messages up to each: what is on its way at a time begins after a place that is found by halving.
    latest: new Float64Array(count),
    // The message that an event took, or the first that it sent.
    taken: new Map(),
  };
  let latest = 0;
  for (let at = 0; at < count; at++) {
    all.arrives[at] = events.time[from[at]] + takes[at];
    latest = Math.max(latest, all.arrives[at]);
    all.latest[at] = latest;
    if (by[at] >= 0) all.taken.set(by[at], at);
  }
  return all;
})();
const actors = data.actors;
const text = (id) => data.texts[events.text[id]];
const kindOf = (id) => events.kinds[events.kind[id]];
const violation = data.violation ? events.count - 1 : none;
const begin = events.count ? Math.min(0, events.time[0]) : 0;
const end = Math.max(data.end, 1);

// The first place of a sorted column with at least this value.
function lowest(column, value, count = column.length) {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The last row of a list of states that began at or before a time.
function stateAt(rows, time) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle][0] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// What each event led to, as one list with the places where that of each event begins.
let effects = null;
function effectsOf(id) {
  if (!effects) {
    const first = new Uint32Array(events.count + 1);
    for (let other = 0; other < events.count; other++) if (events.cause[other] >= 0) first[events.cause[other] + 1]++;
    for (let other = 0; other < events.count; other++) first[other + 1] += first[other];
    const all = new Uint32Array(first[events.count]);
    const next = first.slice();
    for (let other = 0; other < events.count; other++) if (events.cause[other] >= 0) all[next[events.cause[other]]++] = other;
    effects = { first, all };
  }
  return effects.all.subarray(effects.first[id], effects.first[id + 1]);
}

const past = 1;
const future = 2;

// Marks the past and the future of an event. Direct: the chain of causes, and what came of the event. All: also what
// came before on the same machine, and so could have been known there.
function cone(id, direct) {
  const marks = new Uint8Array(events.count);
  let [before, after] = [0, 0];
  if (direct) {
    for (let at = events.cause[id]; at >= 0; at = events.cause[at]) {
      marks[at] = past;
      before++;
    }
    const open = [id];
    while (open.length) {
      for (const effect of effectsOf(open.pop())) {
        if (marks[effect]) continue;
        marks[effect] = future;
        after++;
        open.push(effect);
      }
    }
  } else {
    const known = new Int32Array(actors.length).fill(none);
    known[events.actor[id]] = id;
    for (let at = id; at >= 0; at--) {
      if (at > known[events.actor[at]]) continue;
      const cause = events.cause[at];
      if (cause >= 0) known[events.actor[cause]] = Math.max(known[events.actor[cause]], cause);
      if (at !== id) {
        marks[at] = past;
        before++;
      }
    }
    const touched = new Uint8Array(actors.length);
    touched[events.actor[id]] = 1;
    for (let at = id + 1; at < events.count; at++) {
      const cause = events.cause[at];
      if (!touched[events.actor[at]] && !(cause === id || (cause >= 0 && marks[cause] === future))) continue;
      touched[events.actor[at]] = 1;
      marks[at] = future;
      after++;
    }
  }
  return { marks, before, after };
}

function seconds(time, digits = 6) {
  return (time / 1e9).toFixed(digits);
}

// A length of time as people say it.
function length(time) {
  const size = Math.abs(time);
  if (size >= 1e9) return `${(time / 1e9).toFixed(3)} s`;
  if (size >= 1e6) return `${(time / 1e6).toFixed(3)} ms`;
  return `${(time / 1e3).toFixed(1)} µs`;
}
