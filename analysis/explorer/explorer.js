"use strict";
// The page: its state, what follows from it, and what people do. Numbers are from statistics.js, drawings from drawing.js.

/** @type {any} */
const CONTENT = JSON.parse(element("content").textContent);
/** @type {Rational[]} */
const EDGES = CONTENT.edges.map(rational);
const LOGS = EDGES.map((edge) => Math.log10(Number(edge.num) / Number(edge.den)));

/**
 * Thresholds that are exact: position = first bin above. Text is what is typed and stands in the link.
 * @type {{label: string, text: string}[]}
 */
const STOPS = [CONTENT.stops[0], { label: ">0", text: ">0" }, ...CONTENT.stops.slice(1), { label: "inf", text: "inf" }];
const TOP_STOP = STOPS.length - 1;

/**
 * @typedef {object} Threshold
 * @property {Cut} cut
 * @property {string} label
 * @property {string} text
 * @property {number} place among the bins, for the drawing: its bin and the share of it
 */

/**
 * @typedef {object} Profile what a page holds of a profile, decoded
 * @property {any} facts
 * @property {string[]} archs
 * @property {Int32Array} index
 * @property {Uint32Array} counts
 * @property {Uint32Array | Float64Array} below
 * @property {Float64Array} total counts of all architectures, by bin
 * @property {Map<string, Float64Array>} accuracies
 * @property {Map<string, Float64Array>} estimators
 * @property {{below: Uint32Array, params: Uint32Array, depth: Int32Array, rows: Int32Array, numLayers: number} | null} layers
 */

/** @type {any} what people have set; it stands in the link */
const state = { p: 0, acc: null, split: 2, k: 10, t1: "", t2: "", x: "score", y: "accuracy", ranks: false, members: [], arch: null };
/** @type {Profile} */
let profile;
/** @type {any} what follows from the state; see `compute` */
let now = {};
/** @type {any} */
let labels = null;
/** @type {any} */
let grid = null;
/** @type {any} pictures that are pointed at */
const drawn = {};
/** @type {number[] | null} rows inside the region of the scatter */
let region = null;
/** @type {number[] | null} */
let regionBox = null;
/** @type {number | null} row under the pointer */
let hovered = null;

// ---------------------------------------------------------------------------------------------------------------- opening

/**
 * Bytes of a compressed part of the page.
 * @param {string} id
 * @returns {Promise<Uint8Array>}
 */
async function unpacked(id) {
  const holder = element(id), binary = atob(holder.textContent), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Numbers of a part: all first bytes, then all second ones, little-endian.
 * @param {string} id
 * @param {string} type
 * @returns {Promise<any>}
 */
async function numbersOf(id, type) {
  const bytes = await unpacked(id);
  const Type = { uint32: Uint32Array, int32: Int32Array, float64: Float64Array }[type];
  if (!Type) throw new Error(`unknown type ${type}`);
  const size = Type.BYTES_PER_ELEMENT, num = bytes.length / size, whole = new Uint8Array(bytes.length);
  for (let plane = 0; plane < size; plane++) {
    for (let i = 0, from = plane * num; i < num; i++) whole[i * size + plane] = bytes[from + i];
  }
  return new Type(whole.buffer);
}

/**
 * @param {number} number of the profile
 * @returns {Promise<Profile>}
 */
async function openProfile(number) {
  const facts = CONTENT.profiles[number];
  const parts = Object.fromEntries(
    await Promise.all(
      Object.entries(facts.arrays).map(async ([name, { type }]) => [name, await numbersOf(`data-${number}-${name}`, type)]),
    ),
  );
  const archs = JSON.parse(new TextDecoder().decode(await unpacked(`data-${number}-archs`)));
  const n = facts.numRows, total = new Float64Array(NUM_BINS);
  for (let row = 0; row < n; row++) for (let bin = 0; bin < NUM_BINS; bin++) total[bin] += parts.counts[row * NUM_BINS + bin];
  /** @type {(names: string[], values: Float64Array) => Map<string, Float64Array>} */
  const columns = (names, values) => new Map(names.map((name, i) => [name, values.subarray(i * n, (i + 1) * n)]));
  let layers = null;
  if (facts.numPlaces) {
    const [counts, sums] = [parts.layer_counts, new Uint32Array(parts.layer_counts.length)];
    for (let i = 1; i < counts.length; i++) sums[i] = i % NUM_BINS ? sums[i - 1] + counts[i - 1] : 0;
    layers = { below: sums, params: parts.layer_params, depth: parts.layer_depth, rows: parts.layer_rows, numLayers: facts.numLayers };
  }
  return {
    facts, archs, total, layers, index: parts.index, counts: parts.counts, below: sumsBelow(parts.counts, n),
    accuracies: columns(facts.accuracies, parts.accuracies),
    estimators: columns(facts.estimators.map((/** @type {any} */ each) => each.name), parts.estimators),
  };
}

// -------------------------------------------------------------------------------------------------------------- thresholds

/**
 * @param {number} bin
 * @returns {Threshold}
 */
const stop = (bin) => ({ cut: { bin, share: 0 }, ...STOPS[bin], place: bin });

/**
 * A threshold as it is typed; null if it is none.
 * @param {string} text
 * @returns {Threshold | null}
 */
function threshold(text) {
  const plain = text.trim().toLowerCase().replaceAll("−", "-");
  if (["inf", "infinity", "∞"].includes(plain)) return stop(TOP_STOP);
  if (plain === ">0") return stop(1);
  const value = rational(plain);
  if (!value) return null;
  const cut = cutAt(value, EDGES);
  return cut.share ? { cut, label: plain, text: plain, place: cut.bin + cut.share } : stop(cut.bin);
}

/**
 * Set both thresholds; those in the wrong order, or that are none, change nothing.
 * @param {string} lower
 * @param {string} upper
 * @returns {boolean} whether they were taken
 */
function setInterval_(lower, upper) {
  const [a, b] = [threshold(lower), threshold(upper)];
  if (!a || !b || !isBelow(a, b)) return false;
  [state.t1, state.t2] = [a.text, b.text];
  update();
  return true;
}

/**
 * @param {Threshold} a
 * @param {Threshold} b
 */
function isBelow(a, b) {
  if (a.place !== b.place || !a.cut.share) return a.place < b.place;
  const [x, y] = /** @type {Rational[]} */ ([rational(a.text), rational(b.text)]);
  return x.num * y.den < y.num * x.den;
}

/**
 * @param {Threshold} a
 * @param {Threshold} b
 */
const intervalText = (a, b) => (a.label === ">0" ? `(0, ${b.label})` : `[${a.label}, ${b.label})`);

// ------------------------------------------------------------------------------------------------------------- what follows

/** What follows from the accuracy alone: the rows that have one, and its ranks. */
function computeLabels() {
  const all = profile.accuracies.get(state.acc);
  labels = null;
  if (!all) return;
  const rows = Int32Array.from(all.keys()).filter((row) => !Number.isNaN(all[row]));
  const accuracy = Float64Array.from(rows, (row) => all[row]);
  if (rows.length < 2) return;
  const ranks = denseRanks(accuracy);
  labels = { all, rows, accuracy, ranks, centred: centredRanks(ranks), best: Math.max(...accuracy.subarray(0, 0), accuracy.reduce((a, b) => Math.max(a, b))) };
}

/** What follows from the split alone: the sweetness of the grid, and the interval that the paper's rule takes. */
function computeGrid() {
  const bins = CONTENT.grids[state.split];
  const intervals = bins.slice(1).map((/** @type {number} */ high, /** @type {number} */ i) => [stop(bins[i]), stop(high)]);
  const names = intervals.map(([a, b]) => intervalText(a, b));
  const values = profile.layers ? intervals.map(([a, b]) => sweetness(sharesOf(a, b), profile.layers.depth, profile.layers.numLayers)) : [];
  const chosen = values.length && !values.some(Number.isNaN) ? sweetest(values) : -1;
  grid = { bins, intervals, names, values, chosen, depth: chosen < 0 ? null : depthOf(sharesOf(...intervals[chosen])) };
}

/**
 * @param {Threshold} lower
 * @param {Threshold} upper
 */
const sharesOf = (lower, upper) => proportions(profile.layers, profile.facts.numChoosers, lower.cut, upper.cut);

/**
 * Quantiles of the proportion of every layer, over the architectures that have it.
 * @param {Float64Array} shares
 */
function depthOf(shares) {
  const { depth, numLayers } = profile.layers, quantiles = [];
  for (let layer = 0; layer < numLayers; layer++) {
    const values = [];
    for (let arch = 0; arch < profile.facts.numChoosers; arch++) if (layer < depth[arch]) values.push(shares[arch * numLayers + layer]);
    const sorted = Float64Array.from(values).sort();
    if (sorted.length) quantiles.push([0.1, 0.25, 0.5, 0.75, 0.9].map((share) => quantile(sorted, share)));
  }
  return quantiles;
}

/** Everything that follows from the thresholds. */
function compute() {
  const [lower, upper] = /** @type {Threshold[]} */ ([threshold(state.t1), threshold(state.t2)]);
  const scores = scoresBetween(profile.below, profile.facts.numRows, lower.cut, upper.cut);
  now = { lower, upper, scores, estimated: lower.cut.share > 0 || upper.cut.share > 0, text: intervalText(lower, upper) };
  Object.assign(now, qualityOf(scores, 1));
  if (profile.layers) {
    now.shares = sharesOf(lower, upper);
    now.sweetness = sweetness(now.shares, profile.layers.depth, profile.layers.numLayers);
    now.place = 1 + grid.values.filter((/** @type {number} */ value) => value > now.sweetness + 1e-12).length;
    now.inGrid = grid.names.indexOf(now.estimated ? "" : now.text);
  }
  now.combination = combinationOf();
}

/**
 * How well scores rank the architectures that have an accuracy; rows without a score are left out.
 * @param {Float64Array} scores
 * @param {number} sign -1 if less is better
 */
function qualityOf(scores, sign) {
  const nothing = { numArchs: 0, spearman: NaN, kendall: NaN, ndcg: NaN, regret: NaN };
  if (!labels) return nothing;
  let { rows, accuracy, ranks: trained, centred } = labels;
  if (rows.some((/** @type {number} */ row) => Number.isNaN(scores[row]))) {
    rows = rows.filter((/** @type {number} */ row) => !Number.isNaN(scores[row]));
    if (rows.length < 2) return nothing;
    accuracy = Float64Array.from(rows, (row) => labels.all[row]);
    trained = denseRanks(accuracy);
    centred = centredRanks(trained);
  }
  const values = new Float64Array(rows.length);
  for (let i = 0; i < rows.length; i++) values[i] = sign * scores[rows[i]];
  const ranks = denseRanks(values);
  return {
    numArchs: rows.length,
    spearman: sign * pearson(centredRanks(ranks), centred),
    kendall: sign * kendall(ranks, trained),
    ndcg: ndcg(ranks, trained, accuracy, state.k),
    regret: regret(ranks, accuracy, state.k),
  };
}

/** Log-rank combination of the members, NaN where one of them is missing; null if fewer than two are chosen. */
function combinationOf() {
  if (state.members.length < 2) return null;
  const columns = state.members.map((/** @type {string} */ name) => signedColumn(name));
  const complete = Int32Array.from(now.scores.keys()).filter((row) => columns.every((/** @type {any} */ each) => !Number.isNaN(each[row])));
  if (complete.length < 2) return null;
  const sums = logRanks(columns.map((/** @type {any} */ each) => Float64Array.from(complete, (row) => each[row])));
  const scores = new Float64Array(profile.facts.numRows).fill(NaN);
  complete.forEach((row, i) => { scores[row] = sums[i]; });
  return { scores, ...qualityOf(scores, 1) };
}

/** @param {string} name of an estimator, or "score" */
const signOf = (name) => profile.facts.estimators.find((/** @type {any} */ each) => each.name === name)?.sign ?? 1;

/** @param {string} name */
function signedColumn(name) {
  const column = columnOf(name);
  return signOf(name) < 0 ? column.map((value) => -value) : column;
}

/**
 * Values of an axis.
 * @param {string} name
 * @returns {Float64Array}
 */
function columnOf(name) {
  const none = new Float64Array(profile.facts.numRows).fill(NaN);
  if (name === "score") return now.scores;
  if (name === "combination") return now.combination?.scores ?? none;
  if (name === "accuracy") return profile.accuracies.get(state.acc) ?? none;
  return profile.estimators.get(name) ?? profile.accuracies.get(name) ?? none;
}

/** @param {string} name */
function nameOf(name) {
  if (name === "score") return `score in ${now.text}`;
  if (name === "combination") return `log ranks of ${state.members.length} estimators`;
  if (name === "accuracy") return state.acc ? `accuracy ${state.acc}, %` : "accuracy";
  const { interval } = profile.facts.estimators.find((/** @type {any} */ each) => each.name === name) ?? {};
  return interval ? `${name} in ${interval}` : profile.accuracies.has(name) ? `accuracy ${name}, %` : name;
}

/** Rows with a value on the x axis, the best first; equal ones in the order of the profile. */
function ordered() {
  const column = signedColumn(state.x);
  return Array.from(region ?? now.scores.keys()).filter((row) => !Number.isNaN(column[row])).sort((a, b) => column[b] - column[a] || a - b);
}

// -------------------------------------------------------------------------------------------------------------- the page

/** Compute and show everything that depends on the thresholds. */
function update() {
  compute();
  showInterval();
  showPanels();
  remember();
}

function showInterval() {
  const { lower, upper } = now, places = drawn.histogram.places;
  element("interval-text").textContent = now.text;
  element("estimated").hidden = !now.estimated;
  for (const [id, at] of /** @type {[string, Threshold][]} */ ([["lower", lower], ["upper", upper]])) {
    const field = element(id), handle = drawn.handles[id], x = xOf(at, places);
    if (document.activeElement !== field) field.value = at.text;
    field.removeAttribute("aria-invalid");
    handle.setAttribute("transform", `translate(${x} 0)`);
    handle.setAttribute("aria-valuenow", String(at.cut.bin));
    handle.setAttribute("aria-valuetext", `${at.label}${at.cut.share ? ", estimated" : ""}`);
    const text = handle.querySelector("text");
    text.textContent = at.label;
  }
  const [a, b] = [xOf(lower, places), xOf(upper, places)];
  drawn.histogram.clip.setAttribute("x", String(a));
  drawn.histogram.clip.setAttribute("width", String(b - a));
  showFacts();
  clearTimeout(drawn.spoken);
  drawn.spoken = setTimeout(() => {
    element("live").textContent = `Interval ${now.text}. Spearman ${shown(now.spearman)}.`;
  }, 600);
}

/**
 * @param {Threshold} at
 * @param {number[]} places
 */
function xOf({ cut }, places) {
  return places[cut.bin] + (cut.share ? cut.share * (places[cut.bin + 1] - places[cut.bin]) : 0);
}

function showFacts() {
  const rule = grid.chosen >= 0, k = state.k, items = [];
  if (labels) {
    items.push(["Spearman", shown(now.spearman), `${shown(now.numArchs, 0)} architectures`]);
    items.push(["Kendall", shown(now.kendall), "tau-b"]);
    items.push([`nDCG@${k}`, shown(now.ndcg), "1 is the best order"]);
    items.push([`regret@${k}`, Number.isNaN(now.regret) ? "–" : shown(now.regret, 2), "percentage points"]);
  }
  if (rule) {
    const of = `${shown(now.place, 0)}${ordinal(now.place)} of ${grid.values.length} ${now.inGrid < 0 ? "if it were in the grid" : "in the grid"}`;
    items.push(["sweetness", shown(now.sweetness), of]);
  }
  let inside = 0;
  for (const value of now.scores) inside += value;
  const all = profile.total.reduce((a, b) => a + b, 0);
  items.push(["gradients inside", `${shown((100 * inside) / all, 1)} %`, "of all weights"]);
  element("facts").replaceChildren(
    ...items.map(([name, value, note]) => html("div", {}, html("dt", {}, name), html("dd", {}, value, html("small", {}, note)))),
  );
  element("use-chosen").hidden = !rule || now.inGrid === grid.chosen;
  element("rule").textContent = !rule ? "" : `The paper’s rule takes ${grid.names[grid.chosen]}: sweetness ${shown(grid.values[grid.chosen])}, the largest of ${grid.values.length} intervals, over ${profile.facts.numChoosers} architectures.`;
}

/** @param {number} n */
const ordinal = (n) => (n % 100 > 10 && n % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th"));

function showPanels() {
  showTop();
  showScatter();
  showHeatmap();
  showCombination();
  if (profile.layers) {
    drawSweetness(element("sweetness"), grid.values, grid.names, { chosen: grid.chosen, now: now.inGrid, current: now.sweetness });
    const curves = [{ quantiles: depthOf(now.shares), marker: "first" }];
    if (now.inGrid !== grid.chosen && grid.depth) curves.push({ quantiles: grid.depth, marker: "second" });
    drawDepth(element("depth"), curves);
    const beside = curves.length > 1 ? `; dashed: ${grid.names[grid.chosen]}, which the rule takes` : "";
    element("depth-text").textContent = `Share of each layer’s weights in ${now.text}: median, middle 50 and 80 % of ${profile.facts.numChoosers} architectures${beside}.`;
    element("sweetness-text").textContent = `Split ${state.split}, ${profile.facts.numChoosers} architectures. Orange: this interval; blue: the one that the rule takes. A click takes one.`;
  }
  showArch();
}

function showScatter() {
  let [x, y] = [columnOf(state.x), columnOf(state.y)];
  const both = Int32Array.from(x.keys()).filter((row) => !Number.isNaN(x[row]) && !Number.isNaN(y[row]));
  const [a, b] = [x, y].map((column) => denseRanks(Float64Array.from(both, (row) => column[row])));
  const rho = both.length > 1 ? pearson(centredRanks(a), centredRanks(b)) : NaN;
  if (state.ranks) {
    [x, y] = [a, b].map((ranks) => {
      const centred = centredRanks(ranks), spread = new Float64Array(x.length).fill(NaN);
      both.forEach((row, i) => { spread[row] = centred[i] + (both.length + 1) / 2; });
      return spread;
    });
  }
  const word = state.ranks ? "rank of " : "";
  Object.assign(drawn, { x, y });
  drawn.points = drawScatter(element("scatter"), {
    x, y, xLabel: word + nameOf(state.x), yLabel: word + nameOf(state.y),
    marked: drawn.top ?? [], chosen: hovered ?? state.arch, region: regionBox,
  });
  drawn.scatterSpearman = rho;
  element("scatter-text").textContent = `${shown(both.length, 0)} architectures, Spearman ${shown(rho)}. Orange: the first ${drawn.top.length} of the table.`;
}

function showTop() {
  const rows = ordered(), top = rows.slice(0, state.k), accuracy = profile.accuracies.get(state.acc);
  drawn.ordered = rows;
  drawn.top = top;
  const inside = region ? ` of ${shown(rows.length, 0)} in the region` : "";
  element("top-title").textContent = `Top ${top.length}${inside} by ${nameOf(state.x)}`;
  const less = signOf(state.x) < 0 ? " Less is better." : "";
  const { regret: missed } = labels ? qualityOf(columnOf(state.x), signOf(state.x)) : { regret: NaN };
  element("top-text").textContent = (labels && !region ? `Best accuracy of all: ${shown(labels.best, 2)} %; regret@${state.k}: ${shown(missed, 2)} points.` : "") + less;
  element("clear-region").hidden = !region;
  const head = ["#", "architecture", "index", state.x === "score" ? "score" : nameOf(state.x), ...(labels ? ["accuracy, %", "regret"] : [])];
  element("top-head").replaceChildren(html("tr", {}, ...head.map((each) => html("th", { scope: "col" }, each))));
  element("top-body").replaceChildren(...top.map((row, i) => {
    const button = html("button", { type: "button", "data-row": String(row) }, shortened(profile.archs[row], 64));
    const cells = [String(i + 1), button, String(profile.index[row]), compact(columnOf(state.x)[row])];
    if (labels) cells.push(shown(accuracy?.[row] ?? NaN, 2), shown(labels.best - (accuracy?.[row] ?? NaN), 2));
    return html("tr", row === state.arch ? { class: "best" } : {}, ...cells.map((each) => html("td", {}, each)));
  }));
}

/**
 * @param {string} text
 * @param {number} most
 */
const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function showCombination() {
  const { combination } = now, text = element("combination-text");
  if (!combination) text.textContent = state.members.length < 2 ? "Choose two or more." : "No two architectures have all of these.";
  else text.textContent = labels ? `Spearman ${shown(combination.spearman)}, Kendall ${shown(combination.kendall)}, nDCG@${state.k} ${shown(combination.ndcg)}, regret@${state.k} ${shown(combination.regret, 2)} points, over ${shown(combination.numArchs, 0)} architectures.` : "There is no accuracy to compare it with.";
}

function showArch() {
  const row = hovered ?? state.arch, head = element("arch-text"), picture = element("arch-histogram");
  element("cell").hidden = picture.hidden = element("arch-facts").hidden = row === null;
  if (row === null) {
    head.textContent = "Point at one in the scatter, or search.";
    return;
  }
  head.textContent = `${profile.archs[row]} · index ${profile.index[row]}`;
  const cell = cellOf(profile.archs[row]);
  element("cell").replaceChildren(...(cell ? [drawCell(cell)] : []));
  const counts = profile.counts.subarray(row * NUM_BINS, (row + 1) * NUM_BINS);
  const picked = drawHistogram(picture, counts, LOGS, 150), [a, b] = [xOf(now.lower, picked.places), xOf(now.upper, picked.places)];
  picked.clip.setAttribute("x", String(a));
  picked.clip.setAttribute("width", String(b - a));
  const items = [["score", compact(now.scores[row])]];
  if (labels) items.push([`accuracy ${state.acc}`, `${shown(labels.all[row], 2)} %`]);
  if (now.combination) items.push(["combination", compact(now.combination.scores[row])]);
  for (const [name, column] of profile.estimators) items.push([nameOf(name), compact(column[row])]);
  items.push(...layerFacts(row));
  for (const [name, column] of profile.accuracies) if (name !== state.acc) items.push([name, `${shown(column[row], 2)} %`]);
  element("arch-facts").replaceChildren(...items.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));
}

/**
 * The proportion by depth of one architecture, where the page has its layers.
 * @param {number} row
 * @returns {string[][]}
 */
function layerFacts(row) {
  const place = profile.layers?.rows.indexOf(row) ?? -1;
  if (!profile.layers || place < 0) return [];
  const { below, params, depth, numLayers } = profile.layers, from = place * numLayers, to = from + numLayers;
  const one = { below: below.subarray(from * NUM_BINS, to * NUM_BINS), params: params.subarray(from, to), numLayers };
  const shares = proportions(one, 1, now.lower.cut, now.upper.cut).subarray(0, depth[place]);
  const words = Array.from(shares, (share) => `${Math.round(100 * share)}`).join(" ");
  return [["proportion by layer, %", words], ["sweetness", shown(sweetness(shares, depth.subarray(place, place + 1), depth[place]))]];
}

// ------------------------------------------------------------------------------------------------------------ the heat map

/** @type {Worker | null} */
let worker = null;
let job = 0;

/** Source of the worker: the definitions, and a loop that can be interrupted after every row. */
const WORKER = `
let below, numRows, current = 0;
onmessage = async ({ data }) => {
  if (data.below) ({ below, numRows } = data);
  if (!data.rows) return;
  current = data.job;
  const { rows, centred, bins } = data, num = bins.length - 1;
  for (let row = 0; row < num; row++) {
    const values = new Float64Array(num).fill(NaN);
    for (let column = row; column < num; column++) {
      const scores = new Float64Array(rows.length), [low, high] = [bins[row] * numRows, bins[column + 1] * numRows];
      for (let i = 0; i < rows.length; i++) scores[i] = below[high + rows[i]] - below[low + rows[i]];
      values[column] = pearson(centredRanks(denseRanks(scores)), centred);
    }
    postMessage({ job: data.job, row, values });
    await new Promise((resolve) => setTimeout(resolve));
    if (current !== data.job) return;
  }
};`;

/** Begin the heat map anew: for another profile, split or accuracy. */
function startHeatmap() {
  const num = grid.bins.length - 1;
  drawn.heat = { values: new Float64Array(num * num).fill(NaN), rows: 0, num };
  if (!worker) {
    const source = `${element("script-statistics").textContent}\n${WORKER}`;
    worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    worker.onmessage = ({ data }) => {
      if (data.job !== job) return;
      drawn.heat.values.set(data.values, data.row * drawn.heat.num);
      drawn.heat.rows = data.row + 1;
      showHeatmap();
    };
  }
  job++;
  if (drawn.sent !== profile) {
    worker.postMessage({ below: profile.below, numRows: profile.facts.numRows });
    drawn.sent = profile;
  }
  if (labels) worker.postMessage({ job, rows: labels.rows, centred: labels.centred, bins: grid.bins });
}

function showHeatmap() {
  const { values, rows, num } = drawn.heat, names = grid.bins.map((/** @type {number} */ bin) => STOPS[bin].label), marks = [];
  let best = -1;
  values.forEach((/** @type {number} */ value, /** @type {number} */ i) => { if (value > (values[best] ?? -Infinity)) best = i; });
  if (best >= 0 && rows === num) marks.push({ row: Math.floor(best / num), column: best % num, colour: "blue" });
  const [row, column] = [grid.bins.indexOf(now.lower.cut.bin), grid.bins.indexOf(now.upper.cut.bin) - 1];
  if (!now.estimated && row >= 0 && column >= row) marks.push({ row, column, colour: "ink" });
  drawn.heatPlaces = drawHeatmap(element("heatmap"), values, names, marks);
  const progress = rows < num ? ` Computing: ${Math.round((100 * rows) / num)} %.` : "";
  const peak = best >= 0 && rows === num ? ` Largest: ${shown(values[best])} in ${intervalText(stop(grid.bins[Math.floor(best / num)]), stop(grid.bins[(best % num) + 1]))} (blue); it is chosen with the accuracies.` : "";
  element("heatmap-text").textContent = labels ? `Split ${state.split}, accuracy ${state.acc}.${progress}${peak}` : "There is no accuracy to compare with.";
}

// ------------------------------------------------------------------------------------------------------------- what people do

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
  const offset = x - target().left - xOf(now[id], drawn.histogram.places);
  /** @param {PointerEvent} event */
  const move = (event) => {
    x = event.clientX;
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      moveTo(id, nearestStop(x - target().left - offset));
    });
  };
  const end = () => handle.removeEventListener("pointermove", move);
  handle.addEventListener("pointermove", move);
  handle.addEventListener("pointerup", end, { once: true });
  handle.addEventListener("pointercancel", end, { once: true });
}

const target = () => element("histogram").getBoundingClientRect();

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
    const at = drawn.ordered.indexOf(state.arch);
    chooseArch(drawn.ordered[at < 0 ? 0 : Math.max(0, Math.min(drawn.ordered.length - 1, at + step))] ?? null);
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
    if (at) setInterval_(STOPS[grid.bins[at[0]]].text, STOPS[grid.bins[at[1] + 1]].text);
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
  const rows = region ? drawn.ordered : drawn.top, names = [...profile.estimators.keys()], accuracies = [...profile.accuracies.keys()];
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

// ------------------------------------------------------------------------------------------------------ state in the link

/** Write the state into the link, once things rest. */
function remember() {
  clearTimeout(drawn.remembering);
  drawn.remembering = setTimeout(() => {
    const said = { ...state, members: state.members.join(" "), ranks: state.ranks ? "1" : "", arch: state.arch === null ? "" : profile.archs[state.arch] };
    const parts = Object.entries(said).filter(([, value]) => value !== "" && value !== null).map(([key, value]) => [key, String(value)]);
    drawn.hash = `#${new URLSearchParams(parts)}`;
    history.replaceState(null, "", drawn.hash);
  }, 200);
}

/** Read the state from the link; what makes no sense is left out. */
async function recall() {
  const said = new URLSearchParams(location.hash.slice(1)), number = Number(said.get("p") ?? 0);
  state.p = Number.isInteger(number) && CONTENT.profiles[number] ? number : 0;
  await useProfile(state.p);
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

/** @param {number} number */
async function useProfile(number) {
  profile = await openProfile(number);
  const { facts } = profile;
  Object.assign(state, { p: number, acc: facts.accuracy, x: "score", y: facts.accuracy ? "accuracy" : facts.estimators[0]?.name ?? "score", members: [], arch: null });
  state.k = Math.min(state.k, facts.numRows);
  region = regionBox = hovered = null;
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
  const estimators = facts.estimators.map((/** @type {any} */ each) => [each.name, nameless(each)]);
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
  layHistogram();
  startHeatmap();
  update();
}

/** @param {{name: string, sign: number, interval: string}} estimator */
const nameless = ({ name, sign, interval }) => `${name}${interval ? ` in ${interval}` : ""}${sign < 0 ? " (less is better)" : ""}`;

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
  on("profile", "change", async (event) => { await useProfile(Number(event.target.value)); state.t1 = ""; refresh(); });
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
      const field = element(id), taken = id === "lower" ? setInterval_(field.value, state.t2) : setInterval_(state.t1, field.value);
      if (taken) field.value = now[id].text;
      else field.setAttribute("aria-invalid", "true");
    });
    on(id, "blur", () => { if (!element(id).hasAttribute("aria-invalid")) element(id).value = now[id].text; });
  }
  on("use-chosen", "click", () => { const [a, b] = grid.intervals[grid.chosen]; setInterval_(a.text, b.text); });
  on("sweetness", "click", (event) => {
    const interval = grid.intervals[event.target.dataset?.interval];
    if (interval) setInterval_(interval[0].text, interval[1].text);
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
  addEventListener("hashchange", () => { if (location.hash !== drawn.hash) recall(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => update());
  let width = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    layHistogram();
    update();
  }).observe(document.body);
}

/** For tests, and for people who know how to ask a page. */
const sweetgrad = {
  setInterval: setInterval_,
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
    await recall();
    listen();
    element("status").textContent = "";
    element("main").removeAttribute("aria-busy");
    sweetgrad.readyAfter = performance.now();
  } catch (error) {
    element("status").textContent = `This page could not be opened: ${error}. It needs a browser of 2023 or later.`;
    throw error;
  }
})();
