"use strict";
// What people do: thresholds moved, architectures pointed at and searched, choices made; and the link that keeps it all.

/**
 * Set both thresholds; those in the wrong order, or that are none, change nothing.
 * @param {string} lower
 * @param {string} upper
 * @returns {boolean} whether they were taken
 */
function setThresholds(lower, upper) {
  const [a, b] = [threshold(lower), threshold(upper)];
  if (!a || !b || !isBelow(a, b)) return false;
  [state.t1, state.t2] = [a.text, b.text];
  update();
  return true;
}

/** Draw the histogram and the two handles, which are moved from then on. */
function layHistogram() {
  const target = element("histogram");
  drawn.histogram = drawHistogram(target, profile.total, LOGS, 240);
  drawn.handles = {};
  for (const id of ["lower", "upper"]) {
    const word = id === "lower" ? "Lower threshold t₁" : "Upper threshold t₂";
    const { base } = drawn.histogram;
    const handle = svg(
      "g",
      { class: "handle", id: `handle-${id}`, role: "slider", tabindex: 0, "aria-label": word, "aria-valuemin": 0, "aria-valuemax": TOP_STOP, "aria-orientation": "horizontal" },
      svg("line", { x1: 0, x2: 0, y1: 22, y2: base }),
      svg("rect", { class: "ring", x: -13, y: 12, width: 26, height: base - 8, rx: 6 }),
      svg("circle", { class: "grip", cx: 0, cy: 24, r: 7 }),
      svg("rect", { class: "reach", x: id === "lower" ? -22 : -6, y: 0, width: 28, height: base }),
      svg("text", { x: id === "lower" ? 4 : -4, y: 11, "text-anchor": id === "lower" ? "end" : "start" }),
    );
    handle.addEventListener("keydown", (event) => moveByKey(id, event));
    handle.addEventListener("pointerdown", (event) => startDrag(id, handle, event));
    target.append(handle);
    drawn.handles[id] = handle;
  }
}

/**
 * Set one threshold to a stop, short of the other one.
 * @param {string} id
 * @param {number} bin
 */
function moveTo(id, bin) {
  const other = id === "lower" ? now.upper : now.lower;
  if (id === "lower") state.t1 = STOPS[Math.max(0, Math.min(bin, Math.ceil(other.place) - 1))].text;
  else state.t2 = STOPS[Math.min(TOP_STOP, Math.max(bin, Math.floor(other.place) + 1))].text;
  update();
}

/**
 * @param {string} id
 * @param {KeyboardEvent} event
 */
function moveByKey(id, event) {
  const bin = Math.round(now[id].place), bins = grid.bins;
  const moves = {
    ArrowRight: bin + 1, ArrowUp: bin + 1, ArrowLeft: bin - 1, ArrowDown: bin - 1, Home: 0, End: TOP_STOP,
    PageUp: bins.find((/** @type {number} */ each) => each > bin) ?? TOP_STOP,
    PageDown: bins.findLast((/** @type {number} */ each) => each < bin) ?? 0,
  };
  const to = moves[/** @type {keyof typeof moves} */ (event.key)];
  if (to === undefined) return;
  event.preventDefault();
  moveTo(id, to);
}

/**
 * @param {string} id
 * @param {SVGElement} handle
 * @param {PointerEvent} start
 */
function startDrag(id, handle, start) {
  start.preventDefault();
  handle.focus();
  handle.setPointerCapture(start.pointerId);
  let waiting = 0, x = start.clientX;
  const offset = x - histogramBox().left - xOf(now[id], drawn.histogram.places);
  /** @param {PointerEvent} event */
  const move = (event) => {
    x = event.clientX;
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      moveTo(id, nearestStop(x - histogramBox().left - offset));
    });
  };
  const end = () => handle.removeEventListener("pointermove", move);
  handle.addEventListener("pointermove", move);
  handle.addEventListener("pointerup", end, { once: true });
  handle.addEventListener("pointercancel", end, { once: true });
}

const histogramBox = () => element("histogram").getBoundingClientRect();

/** @param {number} x */
function nearestStop(x) {
  let best = 0;
  drawn.histogram.places.forEach((/** @type {number} */ place, /** @type {number} */ bin) => {
    if (Math.abs(place - x) < Math.abs(drawn.histogram.places[best] - x)) best = bin;
  });
  return best;
}

/** @param {number | null} row */
function chooseArch(row) {
  state.arch = row;
  hovered = null;
  showTop();
  showScatter();
  showArch();
  remember();
}

/**
 * Row whose point is nearest to a place in the scatter, within so many pixels.
 * @param {number} x
 * @param {number} y
 */
function nearestRow(x, y, within = 24) {
  const { px, py } = drawn.points;
  let best = null, least = within * within;
  for (let row = 0; row < px.length; row++) {
    const distance = (px[row] - x) ** 2 + (py[row] - y) ** 2;
    if (distance < least) [best, least] = [row, distance];
  }
  return best;
}

function listenToScatter() {
  const canvas = element("scatter");
  /** @type {number[] | null} */
  let from = null;
  canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    from = event.pointerType === "touch" ? null : [event.offsetX, event.offsetY];
  });
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (event.pointerType === "touch") return;
    if (from && event.buttons && Math.hypot(event.offsetX - from[0], event.offsetY - from[1]) > 6) {
      regionBox = [...from, event.offsetX, event.offsetY];
      showScatter();
      return;
    }
    const row = nearestRow(event.offsetX, event.offsetY);
    if (row === hovered) return;
    hovered = row;
    showScatter();
    showArch();
  });
  canvas.addEventListener("pointerleave", () => {
    if (hovered === null) return;
    hovered = null;
    showScatter();
    showArch();
  });
  canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const dragged = from && Math.hypot(event.offsetX - from[0], event.offsetY - from[1]) > 6;
    from = null;
    if (dragged && regionBox) chooseRegion(regionBox);
    else chooseArch(nearestRow(event.offsetX, event.offsetY));
  });
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: -1, ArrowLeft: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const rows = ordered(), at = rows.indexOf(shownRow());
    chooseArch(rows[Math.max(0, Math.min(rows.length - 1, at + step))] ?? null);
  });
}

/** @param {number[]} box */
function chooseRegion([x1, y1, x2, y2]) {
  const { px, py } = drawn.points, [left, right] = [Math.min(x1, x2), Math.max(x1, x2)], [top, bottom] = [Math.min(y1, y2), Math.max(y1, y2)];
  const rows = Array.from(px.keys()).filter((row) => px[row] >= left && px[row] <= right && py[row] >= top && py[row] <= bottom);
  setRegion(rows);
}

/** @param {number[] | null} rows */
function setRegion(rows) {
  region = rows;
  if (!rows) regionBox = null;
  showTop();
  showScatter();
}

function listenToHeatmap() {
  const canvas = element("heatmap");
  /** @param {MouseEvent} event */
  const pair = (event) => {
    const { left, base, side } = drawn.heatPlaces, [column, row] = [Math.floor((event.offsetX - left) / side), Math.floor((base - event.offsetY) / side)];
    return row >= 0 && column >= row && column < drawn.heat.num ? [row, column] : null;
  };
  canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const at = pair(event);
    if (at) setThresholds(STOPS[grid.bins[at[0]]].text, STOPS[grid.bins[at[1] + 1]].text);
  });
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const at = pair(event), value = at ? drawn.heat.values[at[0] * drawn.heat.num + at[1]] : NaN;
    element("heatmap-hover").textContent = at ? `${intervalText(stop(grid.bins[at[0]]), stop(grid.bins[at[1] + 1]))}: ${shown(value)}` : "Click a square to set both thresholds.";
  });
  // Arrows move the thresholds along the grid: up and down the lower one, left and right the upper one.
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const key = { ArrowUp: ["lower", "PageUp"], ArrowDown: ["lower", "PageDown"], ArrowRight: ["upper", "PageUp"], ArrowLeft: ["upper", "PageDown"] }[event.key];
    if (!key) return;
    event.preventDefault();
    moveByKey(key[0], new KeyboardEvent("keydown", { key: key[1] }));
  });
}

/** @param {string} text */
function search(text) {
  const plain = text.trim(), found = [];
  if (!plain) return found;
  if (/^\d+$/.test(plain)) {
    const row = profile.index.indexOf(Number(plain));
    if (row >= 0) found.push(row);
  }
  const lower = plain.toLowerCase();
  for (let row = 0; row < profile.archs.length && found.length < 8; row++) {
    if (!found.includes(row) && profile.archs[row].toLowerCase().includes(lower)) found.push(row);
  }
  return found;
}

function showFound() {
  const rows = search(element("search").value);
  const entries = rows.map((row) => html("li", {}, html("button", { type: "button", "data-row": String(row) }, `${profile.index[row]}  ${profile.archs[row]}`)));
  if (!rows.length && element("search").value.trim()) entries.push(html("li", { class: "quiet" }, "No architecture has this."));
  element("found").replaceChildren(...entries);
}

/** The table as CSV: all of the region, or the top k. */
function csv() {
  const rows = region ? ordered() : drawn.top, names = [...profile.estimators.keys()], accuracies = [...profile.accuracies.keys()];
  const head = ["rank", "arch", "index", `score ${now.text}`, ...(state.x === "score" ? [] : [nameOf(state.x)]), ...(labels ? ["regret"] : []), ...accuracies, ...names];
  const lines = rows.map((/** @type {number} */ row, /** @type {number} */ i) => [
    i + 1, profile.archs[row], profile.index[row], now.scores[row], ...(state.x === "score" ? [] : [columnOf(state.x)[row]]),
    ...(labels ? [labels.best - labels.all[row]] : []),
    ...accuracies.map((name) => profile.accuracies.get(name)?.[row]), ...names.map((name) => profile.estimators.get(name)?.[row]),
  ]);
  return [head, ...lines].map((cells) => cells.map(cell).join(",")).join("\n") + "\n";
}

/** @param {unknown} value */
function cell(value) {
  if (typeof value === "number") return Number.isNaN(value) ? "" : String(value);
  const text = String(value);
  // What a spreadsheet would run as a formula gets an apostrophe.
  return `"${(/^[=+@\t\r-]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
}

function download() {
  const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  html("a", { href: address, download: `top-${drawn.top.length}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// ---------------------------------------------------------------------------------------------------- state in the link

/** Write the state into the link, once things rest. */
function remember() {
  clearTimeout(drawn.remembering);
  drawn.remembering = setTimeout(() => {
    const said = { ...state, members: state.members.join(" "), ranks: state.ranks ? "1" : "", arch: state.arch === null ? "" : profile.archs[state.arch] };
    const parts = Object.entries(said).filter(([, value]) => value !== "" && value !== null).map(([key, value]) => [key, String(value)]);
    history.replaceState(null, "", `#${new URLSearchParams(parts)}`); // which is no hashchange
  }, 200);
}

/**
 * Read the state from the link; what makes no sense is left out.
 * @param {string} hash
 */
async function recall(hash) {
  clearTimeout(drawn.remembering);
  const said = new URLSearchParams(hash.slice(1)), number = Number(said.get("p") ?? 0);
  if (!(await useProfile(Number.isInteger(number) && CONTENT.profiles[number] ? number : 0))) return;
  const [acc, split, k] = [said.get("acc"), Number(said.get("split")), Number(said.get("k"))];
  if (acc && profile.accuracies.has(acc)) state.acc = acc;
  if (CONTENT.grids[split]) state.split = split;
  if (Number.isInteger(k) && k >= 1) state.k = Math.min(k, profile.facts.numRows);
  state.members = (said.get("members") ?? "").split(" ").filter((name) => name === "score" || profile.estimators.has(name));
  for (const axis of ["x", "y"]) if (isAxis(said.get(axis))) state[axis] = said.get(axis);
  state.ranks = said.get("ranks") === "1";
  const arch = profile.archs.indexOf(said.get("arch") ?? "");
  state.arch = arch < 0 ? null : arch;
  const [a, b] = [threshold(said.get("t1") ?? ""), threshold(said.get("t2") ?? "")];
  [state.t1, state.t2] = a && b && isBelow(a, b) ? [a.text, b.text] : ["", ""];
  refresh();
}

/** @param {string | null} name */
const isAxis = (name) => name !== null && (["score", "accuracy", "combination"].includes(name) || profile.estimators.has(name) || profile.accuracies.has(name));

let opening = 0;

/**
 * Open a profile, with the state that it begins with.
 * @param {number} number
 * @returns {Promise<boolean>} whether it is still the one that is asked for
 */
async function useProfile(number) {
  const mine = ++opening, opened = profile && state.p === number ? profile : await openProfile(number);
  if (mine !== opening) return false;
  profile = opened;
  const { facts } = profile;
  Object.assign(state, { p: number, acc: facts.accuracy, x: "score", y: facts.accuracy ? "accuracy" : facts.estimators[0]?.name ?? "score", members: [], arch: null });
  state.k = Math.min(state.k, facts.numRows);
  region = regionBox = hovered = null;
  return true;
}

/** Everything anew: controls, labels, grid, pictures. */
function refresh() {
  const { facts } = profile;
  computeLabels();
  computeGrid();
  if (!state.t1) {
    const [a, b] = grid.chosen >= 0 ? grid.intervals[grid.chosen] : [stop(1), stop(TOP_STOP)];
    [state.t1, state.t2] = [a.text, b.text];
  }
  element("about").textContent = `${facts.name} · ${shown(facts.numMeasured, 0)} architectures`;
  const notes = [];
  if (facts.numRows < facts.numMeasured) notes.push(`This page shows a uniform sample of ${shown(facts.numRows, 0)} of the ${shown(facts.numMeasured, 0)} architectures measured; all numbers but the sweetness are of the sample.`);
  if (facts.accuracySource) notes.push(`The store has no accuracies: these are of ${facts.accuracySource}, the table that comes with sweetgrad.`);
  if (!facts.accuracies.length) notes.push("The store has no trained accuracies of this space, so there are no correlations with them.");
  if (!profile.layers) notes.push("There are too few layers or architectures for the sweetness of intervals.");
  element("notes").replaceChildren(...notes.map((note) => html("p", { class: "warn" }, note)));
  options("profile", CONTENT.profiles.map((/** @type {any} */ each, /** @type {number} */ i) => [String(i), each.name]), String(state.p));
  element("profile-label").hidden = CONTENT.profiles.length < 2;
  options("accuracy", facts.accuracies.length ? facts.accuracies.map((/** @type {string} */ name) => [name, name]) : [["", "none"]], state.acc ?? "");
  options("split", Object.keys(CONTENT.grids).map((split) => [split, split]), String(state.split));
  const estimators = facts.estimators.map((/** @type {any} */ each) => [each.name, optionText(each)]);
  const axes = [["score", "score of the interval"], ["accuracy", "chosen accuracy"], ["combination", "combination"], ...estimators, ...facts.accuracies.map((/** @type {string} */ name) => [name, `accuracy ${name}`])];
  for (const axis of ["x", "y"]) options(axis, axes, state[axis]);
  element("ranks").checked = state.ranks;
  element("k").value = String(state.k);
  element("k").max = String(facts.numRows);
  element("members").replaceChildren(...[["score", "score of the interval"], ...estimators].map(([name, text]) => {
    const box = /** @type {HTMLInputElement} */ (html("input", { type: "checkbox", value: name }));
    box.checked = state.members.includes(name);
    return html("label", { class: "check" }, box, text);
  }));
  for (const id of ["sweetness-figure", "depth-figure"]) element(id).hidden = !profile.layers;
  element("heatmap-figure").hidden = !labels;
  layHistogram();
  try {
    startHeatmap();
  } catch (error) {
    // A browser that allows a page from the disk no worker: all the rest works.
    drawn.noWorker = String(error);
  }
  update();
}

/** @param {{name: string, sign: number, interval: string}} estimator */
const optionText = ({ name, sign, interval }) => `${name}${interval ? ` in ${interval}` : ""}${sign < 0 ? " (less is better)" : ""}`;

/**
 * @param {string} id
 * @param {string[][]} entries value and text
 * @param {string} chosen
 */
function options(id, entries, chosen) {
  element(id).replaceChildren(...entries.map(([value, text]) => html("option", value === chosen ? { value, selected: "" } : { value }, text)));
}

function listen() {
  /** @type {(id: string, event: string, act: (event: any) => void) => void} */
  const on = (id, event, act) => element(id).addEventListener(event, act);
  on("controls", "submit", (event) => event.preventDefault());
  on("profile", "change", async (event) => {
    if (!(await useProfile(Number(event.target.value)))) return;
    state.t1 = "";
    refresh();
  });
  on("accuracy", "change", (event) => { state.acc = event.target.value || null; refresh(); });
  on("split", "change", (event) => { state.split = Number(event.target.value); refresh(); });
  on("k", "change", (event) => {
    state.k = Math.max(1, Math.min(profile.facts.numRows, Math.round(Number(event.target.value)) || 10));
    event.target.value = String(state.k);
    update();
  });
  for (const axis of ["x", "y"]) on(axis, "change", (event) => { state[axis] = event.target.value; setRegion(null); update(); });
  on("ranks", "change", (event) => { state.ranks = event.target.checked; setRegion(null); update(); });
  on("members", "change", () => {
    state.members = Array.from(element("members").querySelectorAll("input:checked"), (/** @type {any} */ box) => box.value);
    update();
  });
  for (const id of ["lower", "upper"]) {
    on(id, "change", () => {
      const field = element(id), taken = id === "lower" ? setThresholds(field.value, state.t2) : setThresholds(state.t1, field.value);
      if (taken) field.value = now[id].text;
      else field.setAttribute("aria-invalid", "true");
    });
    on(id, "blur", () => { if (!element(id).hasAttribute("aria-invalid")) element(id).value = now[id].text; });
  }
  on("use-chosen", "click", () => { const [a, b] = grid.intervals[grid.chosen]; setThresholds(a.text, b.text); });
  on("sweetness", "click", (event) => {
    const interval = grid.intervals[event.target.dataset?.interval];
    if (interval) setThresholds(interval[0].text, interval[1].text);
  });
  on("search", "input", showFound);
  on("search", "keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); element("found").querySelector("button")?.click(); } });
  for (const id of ["found", "top-body"]) {
    on(id, "click", (event) => {
      const row = event.target.dataset?.row;
      if (row === undefined) return;
      chooseArch(Number(row));
      element("found").replaceChildren();
    });
  }
  on("download", "click", download);
  on("clear-region", "click", () => setRegion(null));
  listenToScatter();
  listenToHeatmap();
  addEventListener("hashchange", ({ newURL }) => recall(new URL(newURL).hash));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    COLOURS.clear();
    update();
  });
  let width = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    SIZES.clear();
    drawn.arch = null;
    layHistogram();
    update();
  }).observe(document.body);
}

/** For tests, and for people who know how to ask a page. */
const sweetgrad = {
  setInterval: setThresholds,
  /** @param {Record<string, any>} changes of the state, such as {acc, split, k, x, y, members, ranks} */
  set(changes) { Object.assign(state, changes); refresh(); },
  numbers: () => ({
    lower: state.t1, upper: state.t2, text: now.text, estimated: now.estimated, accuracy: state.acc, split: state.split, k: state.k,
    numArchs: now.numArchs, spearman: now.spearman, kendall: now.kendall, ndcg: now.ndcg, regret: now.regret,
    sweetness: now.sweetness ?? null, place: now.place ?? null, chosen: grid.names[grid.chosen] ?? null, grid: grid.values,
    depth: profile.layers ? depthOf(now.shares).map((each) => each[2]) : null,
    combination: now.combination?.spearman ?? null, scatter: drawn.scatterSpearman, arch: state.arch, hovered, top: drawn.top,
    scores: Array.from(now.scores),
  }),
  heatmap: () => ({ done: drawn.heat.rows === drawn.heat.num, values: Array.from(drawn.heat.values), num: drawn.heat.num }),
  pointOf: (/** @type {number} */ row) => [drawn.points.px[row], drawn.points.py[row]],
  csv,
  readyAfter: NaN,
  ready: Promise.resolve(),
};
/** @type {any} */ (window).sweetgrad = sweetgrad;

sweetgrad.ready = (async () => {
  try {
    await recall(location.hash);
    listen();
    element("status").textContent = "";
    element("main").removeAttribute("aria-busy");
    sweetgrad.readyAfter = performance.now();
  } catch (error) {
    element("status").textContent = `This page could not be opened: ${error}. It needs a browser of 2023 or later.`;
    throw error;
  }
})();
