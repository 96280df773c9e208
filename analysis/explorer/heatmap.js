"use strict";
// The heat map over both thresholds, computed in a worker while people go on.

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
  job++;
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
  const progress = drawn.noWorker ? ` It cannot be computed here: ${drawn.noWorker}.` : rows < num ? ` Computing: ${Math.round((100 * rows) / num)} %.` : "";
  const peak = best >= 0 && rows === num ? ` Largest: ${shown(values[best])} in ${intervalText(stop(grid.bins[Math.floor(best / num)]), stop(grid.bins[(best % num) + 1]))} (blue); it is chosen with the accuracies.` : "";
  element("heatmap-text").textContent = labels ? `Split ${state.split}, accuracy ${state.acc}.${progress}${peak}` : "There is no accuracy to compare with.";
}
