"use strict";
// The definitions of sweetgrad.analysis in the browser: plain functions of typed arrays, for the page and for its worker.
// Each says which Python function it equals; tests/analysis/explorer compares their numbers.

/** Bins of a histogram: exact zeros, below 1e-10, 341 between edges, from 10 on, not finite. */
const NUM_BINS = 345;

/**
 * A threshold among the bins, as `cut_at`: below it lie all bins before `bin`, and the fraction `share` of `bin` itself.
 * @typedef {{bin: number, share: number}} Cut
 * @typedef {{num: bigint, den: bigint}} Rational
 * @typedef {{codes: Int32Array, counts: Int32Array}} Ranks
 */

/**
 * Dense rank of every value, from 0, and how often each occurs (`dense_ranks`). There must be no NaN.
 * @param {Float64Array} values
 * @returns {Ranks}
 */
function denseRanks(values) {
  const sorted = values.slice().sort();
  const unique = new Float64Array(values.length), counts = new Int32Array(values.length);
  let num = 0;
  for (let i = 0; i < sorted.length; i++) {
    if (i === 0 || sorted[i] !== sorted[i - 1]) unique[num++] = sorted[i];
    counts[num - 1]++;
  }
  const codes = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    let low = 0, high = num - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (unique[middle] < value) low = middle + 1; else high = middle;
    }
    codes[i] = low;
  }
  return { codes, counts: counts.subarray(0, num) };
}

/**
 * Rank of every value less the mean rank; ties get the mean of their places (`_centred_ranks`).
 * @param {Ranks} ranks
 * @returns {Float64Array}
 */
function centredRanks({ codes, counts }) {
  const rank = new Float64Array(counts.length);
  let before = 0;
  for (let code = 0; code < counts.length; code++) {
    before += counts[code];
    rank[code] = before - (counts[code] - 1) / 2 - (codes.length + 1) / 2;
  }
  const centred = new Float64Array(codes.length);
  for (let i = 0; i < codes.length; i++) centred[i] = rank[codes[i]];
  return centred;
}

/**
 * Pearson correlation of two centred vectors; NaN if one is constant (`_pearson`).
 * @param {Float64Array} x
 * @param {Float64Array} y
 */
function pearson(x, y) {
  let xx = 0, yy = 0, xy = 0;
  for (let i = 0; i < x.length; i++) {
    xx += x[i] * x[i];
    yy += y[i] * y[i];
    xy += x[i] * y[i];
  }
  return xx > 0 && yy > 0 ? Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy))) : NaN;
}

/**
 * Kendall's tau-b, as in scipy; NaN if one side is constant.
 * @param {Ranks} x
 * @param {Ranks} y
 */
function kendall(x, y) {
  const n = x.codes.length, numY = y.counts.length;
  if (x.counts.length < 2 || numY < 2) return NaN;
  // In the order of x, and of y where x is equal.
  const order = sortedBy(x, sortedBy(y, rowNumbers(n)));
  // A Fenwick tree over the ranks of y counts, group by group of equal x, those before with a greater y.
  const tree = new Int32Array(numY + 1);
  let discordant = 0, tiedBoth = 0, start = 0;
  for (const size of x.counts) {
    const end = start + size;
    for (let j = start, run = 0; j < end; j++) {
      const code = y.codes[order[j]];
      run = j > start && code === y.codes[order[j - 1]] ? run + 1 : 0;
      tiedBoth += run;
      let upTo = 0;
      for (let i = code + 1; i > 0; i -= i & -i) upTo += tree[i];
      discordant += start - upTo;
    }
    for (let j = start; j < end; j++) for (let i = y.codes[order[j]] + 1; i <= numY; i += i & -i) tree[i]++;
    start = end;
  }
  const total = (n * (n - 1)) / 2, tiedX = numTied(x), tiedY = numTied(y);
  const difference = total - tiedX - tiedY + tiedBoth - 2 * discordant;
  return Math.max(-1, Math.min(1, difference / Math.sqrt(total - tiedX) / Math.sqrt(total - tiedY)));
}

/** @param {number} num */
function rowNumbers(num) {
  const rows = new Int32Array(num);
  for (let row = 0; row < num; row++) rows[row] = row;
  return rows;
}

/**
 * Rows in the order of their ranks; those with equal ranks stay in their order.
 * @param {Ranks} ranks
 * @param {Int32Array} rows
 */
function sortedBy({ codes, counts }, rows) {
  const next = new Int32Array(counts.length), sorted = new Int32Array(rows.length);
  for (let code = 1; code < counts.length; code++) next[code] = next[code - 1] + counts[code - 1];
  for (const row of rows) sorted[next[codes[row]]++] = row;
  return sorted;
}

/** @param {Ranks} ranks */
function numTied({ counts }) {
  let tied = 0;
  for (const count of counts) tied += (count * (count - 1)) / 2;
  return tied;
}

/**
 * nDCG of the k best scores (`ndcg`); NaN where k is out of range or accuracies are not per cent.
 * @param {Ranks} scores
 * @param {Ranks} trained ranks of the accuracies
 * @param {Float64Array} accuracy
 * @param {number} k
 */
function ndcg(scores, trained, accuracy, k) {
  if (!inRange(accuracy, k)) return NaN;
  const best = discountedGain(trained, accuracy, k);
  return best > 0 ? discountedGain(scores, accuracy, k) / best : NaN;
}

/**
 * @param {Float64Array} accuracy
 * @param {number} k
 */
function inRange(accuracy, k) {
  return k >= 1 && k <= accuracy.length && accuracy.every((value) => value >= 0 && value <= 100);
}

/**
 * Sum of the discounted gains of the k first places; equal scores share the mean of their gains (`_dcg`).
 * @param {Ranks} order
 * @param {Float64Array} accuracy
 * @param {number} k
 */
function discountedGain({ codes, counts }, accuracy, k) {
  const gain = new Float64Array(counts.length);
  for (let i = 0; i < codes.length; i++) gain[codes[i]] += 2 ** accuracy[i] - 1;
  let total = 0, filled = 0;
  for (let code = counts.length - 1; code >= 0 && filled < k; code--) {
    let discount = 0;
    const until = Math.min(k, filled + counts[code]);
    for (; filled < until; filled++) discount += 1 / Math.log2(filled + 2);
    total += (gain[code] / counts[code]) * discount;
  }
  return total;
}

/**
 * Best accuracy less the best among the k best scores, expected over the orders of equal scores (`regret_at`).
 * @param {Ranks} scores
 * @param {Float64Array} accuracy
 * @param {number} k
 */
function regret({ codes, counts }, accuracy, k) {
  if (!inRange(accuracy, k)) return NaN;
  let last = counts.length - 1, filled = 0;
  while (filled + counts[last] < k) filled += counts[last--];
  let best = -Infinity, sure = -Infinity;
  const tied = [];
  for (let i = 0; i < codes.length; i++) {
    best = Math.max(best, accuracy[i]);
    if (codes[i] > last) sure = Math.max(sure, accuracy[i]);
    if (codes[i] === last) tied.push(accuracy[i]);
  }
  tied.sort((a, b) => b - a);
  let missed = 0, none = 1;
  tied.forEach((value, i) => {
    const drawn = Math.min((k - filled) / (tied.length - i), 1);
    missed += (best - Math.max(value, sure)) * drawn * none;
    none *= 1 - drawn;
  });
  return missed;
}

/**
 * Sum over estimators of the log of the rank, divided by the number of rows (`aggregate` with "log_ranks"). There must be no NaN.
 * @param {Float64Array[]} columns greater is better
 */
function logRanks(columns) {
  const n = columns[0].length, total = new Float64Array(n);
  for (const column of columns) {
    const ranks = centredRanks(denseRanks(column));
    for (let i = 0; i < n; i++) total[i] += Math.log((ranks[i] + (n + 1) / 2) / n);
  }
  return total;
}

/**
 * Sums of the bins before each bin, (row, bin) to (bin, row): the score of an interval is one subtraction a row.
 * @param {Uint32Array} counts
 * @param {number} numRows
 */
function sumsBelow(counts, numRows) {
  let most = 0;
  for (let row = 0; row < numRows; row++) {
    let sum = 0;
    for (let bin = 0; bin < NUM_BINS; bin++) sum += counts[row * NUM_BINS + bin];
    most = Math.max(most, sum);
  }
  const below = new (most < 2 ** 32 ? Uint32Array : Float64Array)(NUM_BINS * numRows);
  // Bands of rows stay in the cache, though the result is transposed.
  for (let band = 0; band < numRows; band += 16) {
    const end = Math.min(numRows, band + 16);
    for (let bin = 1; bin < NUM_BINS; bin++) {
      for (let row = band; row < end; row++) {
        below[bin * numRows + row] = below[(bin - 1) * numRows + row] + counts[row * NUM_BINS + bin - 1];
      }
    }
  }
  return below;
}

/**
 * Parameters of every row in an interval (`score`): exact where both cuts are at bins, else estimated.
 * @param {Uint32Array | Float64Array} below
 * @param {number} numRows
 * @param {Cut} lower
 * @param {Cut} upper
 */
function scoresBetween(below, numRows, lower, upper) {
  const scores = new Float64Array(numRows);
  const [a, b] = [lower.bin * numRows, upper.bin * numRows];
  // A cut inside a bin takes its share of the next one; the last bin has none.
  const [c, d] = [lower.share > 0 ? a + numRows : a, upper.share > 0 ? b + numRows : b];
  for (let row = 0; row < numRows; row++) {
    const low = below[a + row] + lower.share * (below[c + row] - below[a + row]);
    const high = below[b + row] + upper.share * (below[d + row] - below[b + row]);
    scores[row] = high - low;
  }
  return scores;
}

/**
 * Proportion (Eq. 2) of every compared layer of the architectures that choose the interval, (architecture, layer).
 * @param {{below: Uint32Array, params: Uint32Array, numLayers: number}} layers `below` has (architecture, layer, bin)
 * @param {number} numArchs
 * @param {Cut} lower
 * @param {Cut} upper
 */
function proportions({ below, params, numLayers }, numArchs, lower, upper) {
  const shares = new Float64Array(numArchs * numLayers);
  /** @type {(at: number, cut: Cut) => number} */
  const under = (at, { bin, share }) =>
    below[at + bin] + (share > 0 ? share * (below[at + bin + 1] - below[at + bin]) : 0);
  for (let i = 0; i < shares.length; i++) {
    shares[i] = (under(i * NUM_BINS, upper) - under(i * NUM_BINS, lower)) / Math.max(1, params[i]);
  }
  return shares;
}

/**
 * Sweetness (Eq. 3): the mean over architectures of the mean sign of the change from layer to layer; NaN if none has two layers.
 * @param {Float64Array} shares (architecture, layer)
 * @param {Int32Array} depth
 * @param {number} numLayers
 */
function sweetness(shares, depth, numLayers) {
  let total = 0, num = 0;
  for (let arch = 0; arch * numLayers < shares.length; arch++) {
    if (depth[arch] < 2) continue;
    let signs = 0;
    for (let layer = 1; layer < depth[arch]; layer++) {
      signs += Math.sign(shares[arch * numLayers + layer] - shares[arch * numLayers + layer - 1]);
    }
    total += signs / (depth[arch] - 1);
    num++;
  }
  return total / num;
}

/**
 * Position of the largest sweetness, the first one on a tie (`sweetest`).
 * @param {number[]} values
 */
function sweetest(values) {
  // Means that are equal can differ in their last digits by the order of addition.
  const rounded = values.map((value) => Math.round(value * 1e12));
  return rounded.indexOf(Math.max(...rounded));
}

/**
 * Quantile by linear interpolation, as NumPy's default; `sorted` ascends.
 * @param {Float64Array} sorted
 * @param {number} share
 */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1), low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

/**
 * A number as it is typed, exactly: 1e-4, 0.0005, 1/7000; null if it is none, or is out of any range.
 * @param {string} text
 * @returns {Rational | null}
 */
function rational(text) {
  const [top, bottom, ...rest] = text.split("/").map((part) => decimal(part.trim()));
  if (rest.length || !top || bottom === null || bottom?.num === 0n) return null;
  return bottom ? { num: top.num * bottom.den, den: top.den * bottom.num } : top;
}

/**
 * @param {string} text
 * @returns {Rational | null}
 */
function decimal(text) {
  const match = /^\+?(\d*)\.?(\d*)(?:e([+-]?\d{1,3}))?$/i.exec(text);
  if (!match || !(match[1] || match[2]) || text.length > 60) return null;
  const exponent = Number(match[3] ?? 0) - match[2].length, digits = BigInt(match[1] + match[2]);
  if (digits === 0n) return { num: 0n, den: 1n };
  return exponent < 0 ? { num: digits, den: 10n ** BigInt(-exponent) } : { num: digits * 10n ** BigInt(exponent), den: 1n };
}

/**
 * a / b as a float, of rationals.
 * @param {Rational} a
 * @param {Rational} b
 */
function ratio(a, b) {
  const num = a.num * b.den, den = a.den * b.num;
  // Enough bits that the quotient is rounded once, whatever the size of the two.
  const shift = BigInt(Math.max(0, 80 + den.toString(2).length - num.toString(2).length));
  return Number((num << shift) / den) / 2 ** Number(shift);
}

/**
 * Where a threshold falls among the bins (`cut_at`).
 * @param {Rational} threshold
 * @param {Rational[]} edges ascending
 * @returns {Cut}
 */
function cutAt(threshold, edges) {
  if (threshold.num === 0n) return { bin: 0, share: 0 };
  /** @type {(edge: Rational) => bigint} */
  const difference = (edge) => threshold.num * edge.den - edge.num * threshold.den;
  // Up to the smallest float32 there are zeros only.
  if (threshold.num << 149n <= threshold.den) return { bin: 1, share: 0 };
  let above = 0, end = edges.length;
  while (above < end) {
    const middle = (above + end) >> 1;
    if (difference(edges[middle]) >= 0n) above = middle + 1; else end = middle;
  }
  if (above > 0 && difference(edges[above - 1]) === 0n) return { bin: above + 1, share: 0 };
  let share;
  if (above === 0) share = ratio(threshold, edges[0]);
  else if (above === edges.length) share = 1 - ratio(edges[above - 1], threshold);
  else share = Math.log(ratio(threshold, edges[above - 1])) / Math.log(ratio(edges[above], edges[above - 1]));
  return { bin: above + 1, share: Math.max(share, Number.MIN_VALUE) };
}
