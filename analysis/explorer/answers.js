"use strict";
// The state of the page, and what follows from it; no drawing.

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

/** What follows from the accuracy alone: the rows that have one, and its ranks. */
function computeLabels() {
  const all = profile.accuracies.get(state.acc);
  labels = null;
  if (!all) return;
  const rows = rowsWith([all]);
  const accuracy = picked(all, rows);
  if (rows.length < 2) return;
  const ranks = denseRanks(accuracy);
  labels = { all, rows, accuracy, ranks, centred: centredRanks(ranks), best: accuracy.reduce((a, b) => Math.max(a, b)) };
}

/**
 * Rows that have a value in every column.
 * @param {Float64Array[]} columns
 */
function rowsWith(columns) {
  const rows = new Int32Array(columns[0].length);
  let num = 0;
  for (let row = 0; row < rows.length; row++) {
    let complete = true;
    for (const column of columns) complete &&= !Number.isNaN(column[row]);
    if (complete) rows[num++] = row;
  }
  return rows.subarray(0, num);
}

/**
 * @param {Float64Array} column
 * @param {Int32Array} rows
 */
function picked(column, rows) {
  const values = new Float64Array(rows.length);
  for (let i = 0; i < rows.length; i++) values[i] = column[rows[i]];
  return values;
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
  const both = rowsWith([scores, labels.all]);
  if (both.length < rows.length) {
    rows = both;
    if (rows.length < 2) return nothing;
    accuracy = picked(labels.all, rows);
    trained = denseRanks(accuracy);
    centred = centredRanks(trained);
  }
  const values = picked(scores, rows);
  const ranks = denseRanks(sign < 0 ? values.map((value) => -value) : values);
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
  const complete = rowsWith(columns);
  if (complete.length < 2) return null;
  const sums = logRanks(columns.map((/** @type {Float64Array} */ column) => picked(column, complete)));
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

/**
 * Rows with a value on the x axis, the best first; equal ones in the order of the profile.
 * @param {number} most
 * @returns {number[]}
 */
function ordered(most = Infinity) {
  const column = signedColumn(state.x);
  let rows = region ? region.filter((row) => !Number.isNaN(column[row])) : Array.from(rowsWith([column]));
  if (rows.length > most) {
    // Only those that can be among the first are sorted by hand.
    const sorted = picked(column, Int32Array.from(rows)).sort(), least = sorted[sorted.length - most];
    rows = rows.filter((row) => column[row] >= least);
  }
  return rows.sort((a, b) => column[b] - column[a] || a - b).slice(0, most);
}
