"use strict";
// Drawings of the page: SVG where there are few marks, canvas where there are many. Colours are variables of the style sheet.

/** @typedef {{left: number, right: number, top: number, bottom: number}} Margins */

/** @param {string} id */
const element = (id) => /** @type {any} */ (document.getElementById(id));

/** @type {Map<string, string>} colours by name: asking for one costs the page a calculation of styles */
const COLOURS = new Map();

/**
 * A colour of the style sheet; `COLOURS` is emptied when the scheme changes.
 * @param {string} name
 */
function colour(name) {
  let value = COLOURS.get(name);
  if (!value) COLOURS.set(name, (value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()));
  return value;
}

/**
 * An SVG element; text is set as text.
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {(SVGElement | string)[]} children
 * @returns {SVGElement}
 */
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/**
 * An HTML element; text is set as text.
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {(Node | string)[]} children
 * @returns {HTMLElement}
 */
function html(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/**
 * A number in few digits, with a true minus sign; a dash where there is none.
 * @param {number} value
 * @param {number} [digits] after the point
 */
function shown(value, digits = 3) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
}

/**
 * A number of any size, in about four digits.
 * @param {number} value
 */
function compact(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return shown(value);
  if ((Number.isInteger(value) || size >= 1000) && size < 1e9) return shown(value, 0);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replaceAll("-", "−").replace("e+", "e");
  return shown(value, size >= 100 ? 1 : size >= 1 ? 2 : 4);
}

/**
 * About `num` round numbers from low to high.
 * @param {number} low
 * @param {number} high
 * @param {number} num
 */
function ticks(low, high, num) {
  const raw = (high - low) / num || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((part) => part >= raw * 0.999) ?? raw;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

/**
 * Label of a tick: 20k, 0.5, 3M.
 * @param {number} value
 */
function tickLabel(value) {
  const size = Math.abs(value);
  if (size >= 1e15) return value.toExponential(0).replace("e+", "e");
  for (const [unit, letter] of /** @type {[number, string][]} */ ([[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])) {
    if (size >= unit * 0.9999) return `${Number((value / unit).toPrecision(3))}${letter}`.replace("-", "−");
  }
  return (size && size < 1e-3 ? value.toExponential(0) : `${Number(value.toPrecision(3))}`).replaceAll("-", "−");
}

/** @type {Map<Element, {width: number, height: number}>} sizes on the screen: asking for one costs a layout of the page */
const SIZES = new Map();

/**
 * Size of an element in CSS pixels; `SIZES` is emptied when the window changes.
 * @param {Element} target
 */
function sizeOf(target) {
  let size = SIZES.get(target);
  if (!size) {
    const { width, height } = target.getBoundingClientRect();
    size = { width, height };
    if (width) SIZES.set(target, size);
  }
  return size;
}

/**
 * Empty an SVG and fit its coordinates to its width in pixels.
 * @param {SVGElement} target
 * @param {number} height
 */
function resized(target, height) {
  const width = Math.max(240, sizeOf(target).width);
  target.setAttribute("viewBox", `0 0 ${width} ${height}`);
  target.replaceChildren();
  return width;
}

/**
 * Drawing context of a canvas in CSS pixels, sharp on any screen, and the size.
 * @param {HTMLCanvasElement} canvas
 */
function context(canvas) {
  const { width, height } = sizeOf(canvas);
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const on = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  on.setTransform(ratio, 0, 0, ratio, 0, 0);
  on.clearRect(0, 0, width, height);
  on.font = "11px system-ui, sans-serif";
  return { on, width, height };
}

/**
 * Horizontal places of the bins of a histogram: exact zeros, what is below 1e-10, eleven decades, what is from 10 on.
 * @param {number} width
 * @param {Margins} margins
 * @param {number[]} logs of the edges
 */
function binPlaces(width, margins, logs) {
  const inner = width - margins.left - margins.right, side = Math.max(16, inner * 0.045);
  const main = inner - 3 * side, first = logs[0], span = logs[logs.length - 1] - first;
  const places = [0, side, ...logs.map((log) => 2 * side + ((log - first) / span) * main), inner];
  return places.map((place) => place + margins.left);
}

/**
 * Share of every bin: per decade between the edges, as it is outside of them.
 * @param {ArrayLike<number>} counts of a histogram
 * @param {number[]} logs of the edges
 */
function densities(counts, logs) {
  let total = 0;
  for (let bin = 0; bin < NUM_BINS; bin++) total += counts[bin];
  return Array.from({ length: NUM_BINS - 1 }, (_, bin) => {
    const width = bin < 2 || bin > logs.length ? 1 : logs[bin - 1] - logs[bin - 2];
    return total ? counts[bin] / total / width : 0;
  });
}

/**
 * A histogram with its axes; what lies between two places is coloured.
 * @param {SVGElement} target
 * @param {ArrayLike<number>} counts
 * @param {number[]} logs
 * @param {number} height
 */
function drawHistogram(target, counts, logs, height) {
  const width = resized(target, height), margins = { left: 44, right: 30, top: 34, bottom: 24 };
  const places = binPlaces(width, margins, logs), values = densities(counts, logs);
  const base = height - margins.bottom, top = Math.max(...values) || 1;
  /** @type {(value: number) => number} */
  const y = (value) => base - (value / top) * (base - margins.top);
  const path = values.map((value, bin) => `M${places[bin]} ${base}V${y(value)}H${places[bin + 1]}V${base}Z`).join("");
  const clip = svg("rect", { x: 0, y: 0, width: 0, height }), name = `${target.id}-clip`;
  target.append(svg("clipPath", { id: name }, clip));
  for (const value of ticks(0, top, 3)) {
    target.append(svg("path", { class: "axis", d: `M${margins.left} ${y(value)}H${width - margins.right}` }));
    const label = `${Number((100 * value).toPrecision(2))}%`;
    target.append(svg("text", { x: margins.left - 6, y: y(value) + 4, "text-anchor": "end" }, label));
  }
  target.append(svg("path", { class: "bar", d: path }));
  target.append(svg("path", { class: "bar inside", d: path, "clip-path": `url(#${name})` }));
  const every = width < 520 ? 3 : width < 800 ? 2 : 1;
  /** @type {(x: number, label: string) => void} */
  const label = (x, text) => target.append(svg("text", { x, y: height - 6, "text-anchor": "middle" }, text));
  label((places[0] + places[1]) / 2, "0");
  logs.forEach((log, i) => {
    if (Math.abs(log - Math.round(log)) < 1e-9 && (Math.round(log) + 10) % every === 0 && (log > -10 || width >= 520)) {
      label(places[i + 2], log === 0 ? "1" : log === 1 ? "10" : `1e−${-Math.round(log)}`);
    }
  });
  return { places, clip, margins, width, height, base };
}

/**
 * The histograms of layers, one line each: the darker, the larger a share of the layer per decade.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint32Array} below sums of the bins before each bin, (layer, bin)
 * @param {number} depth number of layers
 * @param {number[]} places of the bins
 * @param {number[]} logs of the edges
 * @param {number[]} inside first and last place of the interval
 */
function drawLayers(canvas, below, depth, places, logs, inside) {
  const tall = `${depth * 9 + 2}px`;
  if (canvas.style.height !== tall) SIZES.delete(canvas);
  canvas.style.height = tall;
  const { on, height } = context(canvas);
  on.fillStyle = colour("ink");
  for (let layer = 0; layer < depth; layer++) {
    const sums = below.subarray(layer * NUM_BINS, (layer + 1) * NUM_BINS);
    const values = densities(Array.from(sums, (sum, bin) => (bin + 1 < NUM_BINS ? sums[bin + 1] - sum : 0)), logs);
    const top = Math.max(...values) || 1;
    values.forEach((value, bin) => {
      if (!value) return;
      on.globalAlpha = value / top;
      on.fillRect(places[bin], layer * 9 + 1, places[bin + 1] - places[bin] + 0.3, 8);
    });
  }
  on.globalAlpha = 1;
  on.strokeStyle = colour("accent");
  for (const at of inside) line(on, at, 0, at, height);
}

/**
 * @typedef {object} Scatter
 * @property {Float64Array} x
 * @property {Float64Array} y
 * @property {string} xLabel
 * @property {string} yLabel
 * @property {number[]} marked rows in the accent colour
 * @property {number | null} chosen row with a ring
 * @property {number[] | null} region x, y, x, y in pixels
 */

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Scatter} scatter
 */
function drawScatter(canvas, { x, y, xLabel, yLabel, marked, chosen, region }) {
  const { on, width, height } = context(canvas);
  const margins = { left: 50, right: 12, top: 10, bottom: 38 };
  const [xRange, yRange] = [finiteRange(x), finiteRange(y)];
  const n = x.length, px = new Float32Array(n).fill(NaN), py = new Float32Array(n);
  const w = width - margins.left - margins.right, h = height - margins.top - margins.bottom;
  for (let i = 0; i < n; i++) {
    if (!Number.isFinite(x[i]) || !Number.isFinite(y[i])) continue;
    px[i] = margins.left + ((x[i] - xRange[0]) / (xRange[1] - xRange[0])) * w;
    py[i] = margins.top + h - ((y[i] - yRange[0]) / (yRange[1] - yRange[0])) * h;
  }
  drawPoints(on, px, py, n > 5000 ? 2 : n > 500 ? 3 : 5, n > 5000 ? 0.35 : 0.6);
  on.globalCompositeOperation = "destination-over"; // the grid is behind the points
  on.strokeStyle = colour("line");
  on.fillStyle = colour("quiet");
  on.lineWidth = 1;
  on.textAlign = "center";
  for (const value of ticks(xRange[0], xRange[1], width < 420 ? 4 : 6)) {
    const at = margins.left + ((value - xRange[0]) / (xRange[1] - xRange[0])) * w;
    line(on, at, margins.top, at, margins.top + h);
    on.fillText(tickLabel(value), at, height - 22);
  }
  on.textAlign = "right";
  for (const value of ticks(yRange[0], yRange[1], 5)) {
    const at = margins.top + h - ((value - yRange[0]) / (yRange[1] - yRange[0])) * h;
    line(on, margins.left, at, margins.left + w, at);
    on.fillText(tickLabel(value), margins.left - 6, at + 4);
  }
  on.fillText(xLabel, margins.left + w, height - 5, w);
  on.save();
  on.translate(12, margins.top);
  on.rotate(-Math.PI / 2);
  on.fillText(yLabel, 0, 0, h);
  on.restore();
  on.globalCompositeOperation = "source-over";
  on.fillStyle = colour("accent");
  for (const row of marked) on.fillRect(px[row] - 2.5, py[row] - 2.5, 5, 5);
  if (chosen !== null && !Number.isNaN(px[chosen])) {
    on.strokeStyle = colour("ink");
    on.lineWidth = 2;
    on.beginPath();
    on.arc(px[chosen], py[chosen], 7, 0, 7);
    on.stroke();
  }
  if (region) {
    on.strokeStyle = colour("accent");
    on.lineWidth = 1.5;
    on.strokeRect(region[0], region[1], region[2] - region[0], region[3] - region[1]);
  }
  return { px, py };
}

/**
 * Squares as pixels of an image: many times as fast as one call each.
 * @param {CanvasRenderingContext2D} on an empty canvas
 * @param {Float32Array} px
 * @param {Float32Array} py
 * @param {number} size in CSS pixels
 * @param {number} alpha of one point; where several lie, less shines through
 */
function drawPoints(on, px, py, size, alpha) {
  const { width, height } = on.canvas, ratio = window.devicePixelRatio || 1, side = Math.max(1, Math.round(size * ratio));
  if (!width || !height) return; // in a window that is not shown
  const num = new Uint16Array(width * height), image = on.createImageData(width, height);
  for (let i = 0; i < px.length; i++) {
    if (Number.isNaN(px[i])) continue;
    const left = Math.round(px[i] * ratio - side / 2), top = Math.round(py[i] * ratio - side / 2);
    for (let row = top; row < top + side; row++) for (let at = row * width + left; at < row * width + left + side; at++) num[at]++;
  }
  const [red, green, blue] = channels("blue"), pixels = new Uint32Array(image.data.buffer);
  // Little-endian, as all machines with a browser are.
  const shades = Uint32Array.from({ length: 20 }, (_, i) => (Math.round(255 * (1 - (1 - alpha) ** i)) << 24) | (blue << 16) | (green << 8) | red);
  for (let at = 0; at < num.length; at++) if (num[at]) pixels[at] = shades[Math.min(num[at], 19)];
  on.putImageData(image, 0, 0);
}

/** @param {Float64Array} values */
function finiteRange(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const pad = (high - low) * 0.02 || 1;
  return [low - pad, high + pad];
}

/**
 * @param {CanvasRenderingContext2D} on
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 */
function line(on, x1, y1, x2, y2) {
  on.beginPath();
  on.moveTo(x1, y1);
  on.lineTo(x2, y2);
  on.stroke();
}

/**
 * Colour of a correlation: from the paper to the accent if positive, to blue if negative.
 * @param {number} value in [-1, 1]
 * @param {{paper: number[], accent: number[], blue: number[]}} scale
 */
function heat(value, { paper, accent, blue }) {
  const end = value >= 0 ? accent : blue, share = Math.min(1, Math.abs(value));
  return `rgb(${paper.map((part, i) => Math.round(part + share * (end[i] - part))).join(" ")})`;
}

/** @param {string} name of a variable that is a hexadecimal colour */
function channels(name) {
  const digits = colour(name).slice(1), wide = digits.length === 3 ? [...digits].map((d) => d + d).join("") : digits;
  return [0, 2, 4].map((at) => Number.parseInt(wide.slice(at, at + 2), 16));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} values (lower, upper), NaN where there is none yet
 * @param {string[]} labels of the thresholds, one more than rows
 * @param {{row: number, column: number, colour: string}[]} marks
 */
function drawHeatmap(canvas, values, labels, marks) {
  const { on, width } = context(canvas), num = labels.length - 1;
  const left = 44, bottom = 38, side = (width - left - bottom + 28) / num, base = num * side + 6;
  const scale = { paper: channels("paper"), accent: channels("accent"), blue: channels("blue") };
  /** @type {(row: number, column: number) => [number, number]} */
  const corner = (row, column) => [left + column * side, base - (row + 1) * side];
  for (let row = 0; row < num; row++) {
    for (let column = row; column < num; column++) {
      const value = values[row * num + column];
      if (Number.isNaN(value)) continue;
      on.fillStyle = heat(value, scale);
      const [x, y] = corner(row, column);
      on.fillRect(x, y, side + 0.5, side + 0.5);
    }
  }
  on.fillStyle = colour("quiet");
  on.strokeStyle = colour("line");
  const every = width < 420 ? 4 : 2;
  labels.forEach((label, i) => {
    const power = /^1e-(\d+)$/.exec(label), exponent = power ? -Number(power[1]) : { "0.01": -2, "0.1": -1, 1: 0, 10: 1 }[label];
    if (exponent === undefined || exponent % every !== 0) return;
    const text = exponent === 0 ? "1" : `1e${exponent}`.replace("-", "−"), at = i * side;
    on.textAlign = "center";
    if (i > 0) on.fillText(text, left + at, base + 14);
    on.textAlign = "right";
    if (i < num) on.fillText(text, left - 6, base - at + 4);
  });
  on.textAlign = "right";
  on.fillText("t₂", left + num * side, base + 29);
  on.fillText("t₁", left - 6, 16);
  // The scale stands in the empty half.
  const long = Math.min(170, num * side * 0.4), x = left + 12, y = 14;
  for (let i = 0; i < long; i++) {
    on.fillStyle = heat((2 * i) / long - 1, scale);
    on.fillRect(x + i, y, 1.5, 10);
  }
  on.fillStyle = colour("quiet");
  on.textAlign = "center";
  for (const value of [-1, 0, 1]) on.fillText(String(value).replace("-", "−"), x + ((value + 1) / 2) * long, y + 24);
  for (const mark of marks) {
    const [at, up] = corner(mark.row, mark.column), size = Math.max(side, 5);
    on.lineWidth = 4;
    on.strokeStyle = colour("paper");
    on.strokeRect(at, up, size, size);
    on.lineWidth = 2;
    on.strokeStyle = colour(mark.colour);
    on.strokeRect(at, up, size, size);
  }
  return { left, base, side };
}

/**
 * @param {SVGElement} target
 * @param {number[]} values
 * @param {string[]} labels of the intervals
 * @param {{chosen: number, now: number, current: number}} marks positions, and the value of the current interval
 */
function drawSweetness(target, values, labels, { chosen, now, current }) {
  const height = 190, width = resized(target, height), left = 36, bottom = 22, top = 10;
  const low = Math.min(0, current, ...values), high = Math.max(0, current, ...values), span = high - low || 1;
  const step = (width - left - 4) / values.length;
  /** @type {(value: number) => number} */
  const y = (value) => top + ((high - value) / span) * (height - top - bottom);
  for (const value of ticks(low, high, 4)) {
    target.append(svg("path", { class: "axis", d: `M${left} ${y(value)}H${width}` }));
    target.append(svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, tickLabel(value)));
  }
  values.forEach((value, i) => {
    const kind = i === now ? "bar now" : i === chosen ? "bar chosen" : "bar";
    const [x, w, h] = [left + i * step + step * 0.1, step * 0.8, Math.max(1, Math.abs(y(value) - y(0)))];
    const bar = svg("rect", { class: kind, x, y: Math.min(y(value), y(0)), width: w, height: h, "data-interval": i });
    bar.append(svg("title", {}, `${labels[i]}: ${shown(value)}`));
    target.append(bar);
  });
  if (now < 0 && !Number.isNaN(current)) {
    const d = `M${left} ${y(current)}H${width}`;
    target.append(svg("path", { d, fill: "none", stroke: "var(--accent)", "stroke-width": 2, "stroke-dasharray": "5 3" }));
  }
  const every = Math.ceil(values.length / (width < 420 ? 5 : 8));
  labels.forEach((label, i) => {
    const lower = label.slice(1).split(",")[0];
    if (i % every || i * step > width - left - 30) return;
    target.append(svg("text", { x: left + i * step, y: height - 5, "text-anchor": "middle" }, lower.replace("-", "−")));
  });
}

/**
 * Median and quantile bands of the proportion against depth.
 * @param {SVGElement} target
 * @param {{quantiles: number[][], marker: string}[]} curves quantiles .1, .25, .5, .75, .9 of every layer
 */
function drawDepth(target, curves) {
  const height = 210, width = resized(target, height), left = 44, bottom = 36, top = 10;
  const num = curves[0].quantiles.length;
  const high = Math.max(...curves.flatMap(({ quantiles }) => quantiles.map((each) => each[4])), 1e-9);
  /** @type {(layer: number) => number} */
  const x = (layer) => left + 8 + (layer / Math.max(1, num - 1)) * (width - left - 20);
  /** @type {(value: number) => number} */
  const y = (value) => height - bottom - (value / high) * (height - top - bottom);
  for (const value of ticks(0, high, 4)) {
    target.append(svg("path", { class: "axis", d: `M${left} ${y(value)}H${width}` }));
    target.append(svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, `${Number((100 * value).toPrecision(2))}%`));
  }
  curves.forEach(({ quantiles, marker }, number) => {
    const group = svg("g", { class: marker });
    if (number === 0) {
      for (const [from, to] of [[0, 4], [1, 3]]) {
        const there = quantiles.map((each, i) => `${x(i)} ${y(each[from])}`);
        const back = quantiles.map((each, i) => `${x(i)} ${y(each[to])}`).reverse();
        group.append(svg("path", { class: "band", d: `M${[...there, ...back].join("L")}Z` }));
      }
    }
    group.append(svg("path", { class: "median", d: `M${quantiles.map((each, i) => `${x(i)} ${y(each[2])}`).join("L")}` }));
    target.append(group);
  });
  for (let layer = 1; layer <= num; layer += num > 24 ? 10 : num > 8 ? 4 : 1) {
    target.append(svg("text", { x: x(layer - 1), y: height - bottom + 16, "text-anchor": "middle" }, String(layer)));
  }
  target.append(svg("text", { x: width, y: height - 4, "text-anchor": "end" }, "layer, from input to output"));
}

/**
 * @typedef {object} Cell
 * @property {string[]} nodes
 * @property {{from: number, to: number, name: string}[]} edges
 */

/**
 * The cell that an architecture string of NAS-Bench-201 or NAS-Bench-101 means; null for other strings.
 * @param {string} arch
 * @returns {Cell | null}
 */
function cellOf(arch) {
  if (/^\|[^+]+\|(\+\|[^+]+\|)+$/.test(arch)) {
    const nodes = ["in"], edges = [];
    for (const [i, node] of arch.split("+").entries()) {
      nodes.push(String(i + 1));
      for (const part of node.split("|").filter(Boolean)) {
        const [name, from] = part.split("~");
        edges.push({ from: Number(from), to: i + 1, name: operation(name) });
      }
    }
    nodes[nodes.length - 1] = "out";
    return edges.every(({ from, to }) => from >= 0 && from < to) ? { nodes, edges } : null;
  }
  const graph = /^([01]+):([\w;-]*)$/.exec(arch);
  if (!graph) return null;
  const nodes = ["in", ...graph[2].split(";").filter(Boolean).map(operation), "out"], edges = [];
  if ((nodes.length * (nodes.length - 1)) / 2 !== graph[1].length) return null;
  for (let from = 0, at = 0; from < nodes.length; from++) {
    for (let to = from + 1; to < nodes.length; to++) if (graph[1][at++] === "1") edges.push({ from, to, name: "" });
  }
  return { nodes, edges };
}

/** @param {string} name */
function operation(name) {
  const plain = name.replace(/^nor_/, "").replace("_connect", "").replaceAll("_", " ");
  return plain.replace(/(\d)x(\d)/, " $1×$2").replace(/^max ?pool/, "max pool").replace(/ +/g, " ");
}

/**
 * Nodes in a row; an edge to the next node is straight, the others are arcs above (from even nodes) or below.
 * @param {Cell} cell
 * @returns {SVGElement}
 */
function drawCell({ nodes, edges }) {
  const onNodes = edges.every(({ name }) => !name), width = 480, height = 200, middle = onNodes ? 100 : 118;
  const step = (width - 50) / Math.max(1, nodes.length - 1);
  const under = svg("g"), over = svg("g"), words = [];
  for (const { from, to, name } of edges) {
    const [a, b] = [25 + from * step, 25 + to * step];
    const up = from % 2 === 0 ? -1 : 1, rise = to - from === 1 ? 0 : up * (28 + 26 * (to - from - 1));
    const faint = name === "none" ? " faint" : "", d = `M${a} ${middle}Q${(a + b) / 2} ${middle + 2 * rise} ${b} ${middle}`;
    under.append(svg("path", { class: `edge${faint}`, d }));
    const [x, y, w] = [(a + b) / 2, middle + rise, name.length * 6.2 + 8];
    if (name) {
      over.append(svg("rect", { class: "tag", x: x - w / 2, y: y - 8, width: w, height: 16 }));
      over.append(svg("text", { x, y, class: faint.trim() }, name));
      words.push(`${nodes[from]} to ${nodes[to]}: ${name}`);
    } else words.push(`${nodes[from]} to ${nodes[to]}`);
  }
  nodes.forEach((name, i) => {
    const x = 25 + i * step, w = Math.max(26, name.length * 6 + 10);
    over.append(svg("rect", { class: "node", x: x - w / 2, y: middle - 12, width: w, height: 24, rx: 11 }));
    over.append(svg("text", { x, y: middle }, name));
  });
  const label = `Cell: ${words.join(", ")}`;
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, under, over);
}
