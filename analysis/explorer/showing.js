"use strict";
// What the page shows of the answers.

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
  shade(drawn.histogram);
  showFacts();
  clearTimeout(drawn.spoken);
  drawn.spoken = setTimeout(() => {
    element("live").textContent = `Interval ${now.text}. Spearman ${shown(now.spearman)}.`;
  }, 600);
}

/**
 * Colour what lies in the interval.
 * @param {{places: number[], clip: SVGElement}} histogram
 */
function shade({ places, clip }) {
  const [a, b] = [xOf(now.lower, places), xOf(now.upper, places)];
  clip.setAttribute("x", String(a));
  clip.setAttribute("width", String(b - a));
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
  const both = rowsWith([x, y]), isMain = state.x === "score" && state.y === "accuracy";
  let rho = isMain ? now.spearman : NaN;
  if (both.length > 1 && (state.ranks || !isMain)) {
    const centred = [x, y].map((column) => centredRanks(denseRanks(picked(column, both))));
    rho = pearson(centred[0], centred[1]);
    if (state.ranks) {
      [x, y] = centred.map((values) => {
        const spread = new Float64Array(x.length).fill(NaN);
        for (let i = 0; i < both.length; i++) spread[both[i]] = values[i] + (both.length + 1) / 2;
        return spread;
      });
    }
  }
  const word = state.ranks ? "rank of " : "";
  Object.assign(drawn, { x, y });
  drawn.points = drawScatter(element("scatter"), {
    x, y, xLabel: word + nameOf(state.x), yLabel: word + nameOf(state.y),
    marked: drawn.top, chosen: shownRow(), region: regionBox,
  });
  drawn.scatterSpearman = rho;
  element("scatter-text").textContent = `${shown(both.length, 0)} architectures, Spearman ${shown(rho)}. Orange: the top ${drawn.top.length}.`;
}

/** The table shows at most so many lines: more would slow a drag down. */
const MOST_LINES = 50;

function showTop() {
  const top = ordered(state.k), accuracy = profile.accuracies.get(state.acc);
  drawn.top = top;
  const inside = region ? ` of ${shown(region.length, 0)} in the region` : "";
  // With hyphens at which no line breaks.
  element("top-title").textContent = `Top ${top.length}${inside} by ${nameOf(state.x)}`.replaceAll("e-", "e\u2011");
  const less = signOf(state.x) < 0 ? " Less is better." : "";
  const { regret: missed } = state.x === "score" ? now : state.x === "combination" ? (now.combination ?? now) : qualityOf(columnOf(state.x), signOf(state.x));
  element("top-text").textContent = (labels && !region ? `Best accuracy of all: ${shown(labels.best, 2)} %; regret@${state.k}: ${shown(missed, 2)} points.` : "") + less;
  if (top.length > MOST_LINES) element("top-text").append(` The first ${MOST_LINES} are shown; the CSV file has all.`);
  element("clear-region").hidden = !region;
  const head = ["#", "architecture", "index", state.x === "score" ? "score" : nameOf(state.x), ...(labels ? ["accuracy, %", "regret"] : [])];
  element("top-head").replaceChildren(html("tr", {}, ...head.map((each) => html("th", { scope: "col" }, each))));
  element("top-body").replaceChildren(...top.slice(0, MOST_LINES).map((row, i) => {
    const button = html("button", { type: "button", "data-row": String(row) }, shortened(profile.archs[row], 100));
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

/** The architecture that is shown: the one under the pointer, else the chosen one, else the first of the table. */
const shownRow = () => hovered ?? state.arch ?? drawn.top[0] ?? null;

function showArch() {
  const row = shownRow(), head = element("arch-text"), picture = element("arch-histogram");
  element("cell").hidden = picture.hidden = element("arch-facts").hidden = element("layers").hidden = row === null;
  if (row === null) {
    head.textContent = "None has a value on the x axis.";
    return;
  }
  head.textContent = `${profile.archs[row]} · index ${profile.index[row]}`;
  if (drawn.arch?.row !== row || drawn.arch.profile !== profile) {
    const cell = cellOf(profile.archs[row]), counts = profile.counts.subarray(row * NUM_BINS, (row + 1) * NUM_BINS);
    element("cell").replaceChildren(...(cell ? [drawCell(cell)] : []));
    drawn.arch = { row, profile, histogram: drawHistogram(picture, counts, LOGS, 150) };
  }
  shade(drawn.arch.histogram);
  const items = [["score", compact(now.scores[row])]];
  if (labels) items.push([`accuracy ${state.acc}`, `${shown(labels.all[row], 2)} %`]);
  if (now.combination) items.push(["combination", compact(now.combination.scores[row])]);
  for (const [name, column] of profile.estimators) items.push([nameOf(name), compact(column[row])]);
  items.push(...layerFacts(row));
  for (const [name, column] of profile.accuracies) if (name !== state.acc) items.push([name, `${shown(column[row], 2)} %`]);
  element("arch-facts").replaceChildren(...items.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));
}

/**
 * The proportion by depth of one architecture, where the page has its layers; their histograms are drawn.
 * @param {number} row
 * @returns {string[][]}
 */
function layerFacts(row) {
  const place = profile.layers?.rows.indexOf(row) ?? -1;
  element("layers").hidden = place < 0;
  if (!profile.layers || place < 0) return [];
  const { below, params, depth, numLayers } = profile.layers, from = place * numLayers, to = from + numLayers;
  const one = { below: below.subarray(from * NUM_BINS, to * NUM_BINS), params: params.subarray(from, to), numLayers };
  const shares = proportions(one, 1, now.lower.cut, now.upper.cut).subarray(0, depth[place]);
  const { places } = drawn.arch.histogram;
  drawLayers(element("arch-layers"), one.below, depth[place], places, LOGS, [xOf(now.lower, places), xOf(now.upper, places)]);
  const words = Array.from(shares, (share) => `${Math.round(100 * share)}`).join(" ");
  return [["proportion by layer, %", words], ["sweetness", shown(sweetness(shares, depth.subarray(place, place + 1), depth[place]))]];
}
