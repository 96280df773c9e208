"use strict";
// What the page holds, decoded: profiles, and the thresholds that are exact.

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

/**
 * @param {string} text base64
 * @returns {Uint8Array<ArrayBuffer>}
 */
function bytesOf(text) {
  const direct = /** @type {any} */ (Uint8Array).fromBase64; // of browsers since 2025
  if (direct) return direct.call(Uint8Array, text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * Bytes of a compressed part of the page.
 * @param {string} id
 * @returns {Promise<Uint8Array>}
 */
async function unpacked(id) {
  const { readable, writable } = new DecompressionStream("gzip"), writer = writable.getWriter(), reader = readable.getReader();
  // Not through a Blob and a Response, which take twice as long. An error in the data is raised by the reader.
  writer.write(bytesOf(element(id).textContent)).catch(() => {});
  writer.close().catch(() => {});
  const chunks = [];
  let length = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    chunks.push(part.value);
    length += part.value.length;
  }
  const whole = new Uint8Array(length);
  length = 0;
  for (const chunk of chunks) {
    whole.set(chunk, length);
    length += chunk.length;
  }
  return whole;
}

/**
 * Numbers of a part: all first bytes, then all second ones, little-endian; last bytes that are all zero are left out.
 * @param {string} id
 * @param {{type: string, shape: number[]}} layout
 * @returns {Promise<any>}
 */
async function numbersOf(id, { type, shape }) {
  const bytes = await unpacked(id);
  const Type = { uint32: Uint32Array, int32: Int32Array, float64: Float64Array }[type];
  if (!Type) throw new Error(`unknown type ${type}`);
  const num = shape.reduce((a, b) => a * b, 1), numPlanes = num ? bytes.length / num : 0;
  if (Type.BYTES_PER_ELEMENT === 4) {
    // Word by word: many times as fast as byte by byte.
    const words = new Type(num);
    for (let plane = 0; plane < numPlanes; plane++) {
      const from = plane * num, shift = 8 * plane;
      for (let i = 0; i < num; i++) words[i] |= bytes[from + i] << shift;
    }
    return words;
  }
  const values = new Type(num), whole = new Uint8Array(values.buffer);
  for (let plane = 0; plane < numPlanes; plane++) {
    for (let i = 0, from = plane * num; i < num; i++) whole[i * Type.BYTES_PER_ELEMENT + plane] = bytes[from + i];
  }
  return values;
}

/**
 * @param {number} number of the profile
 * @returns {Promise<Profile>}
 */
async function openProfile(number) {
  const facts = CONTENT.profiles[number];
  const parts = Object.fromEntries(
    await Promise.all(
      Object.entries(facts.arrays).map(async ([name, layout]) => [name, await numbersOf(`data-${number}-${name}`, layout)]),
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
