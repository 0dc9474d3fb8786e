// What differs between two texts, word by word: the longest common subsequence of their words, by Myers' greedy search.

const MOST_EDITS = 1200; // beyond this nearly everything differs, and marks would say nothing

/** Split into words, runs of spaces, and single marks; joined they are the text again. */
export function words(text) {
  return text.match(/[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu) ?? [];
}

/** For each of the two texts, its pieces in order as {text, own}: own is what the other does not have there. */
export function compare(first, second) {
  const [a, b] = [words(first), words(second)];
  const found = matches(a, b);
  return [pieces(a, new Set(found.map(([x]) => x))), pieces(b, new Set(found.map(([, y]) => y)))];
}

/** Positions [in a, in b] of a longest common subsequence; fewer when the texts differ by too much to be worth it. */
function matches(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let [m, n] = [a.length, b.length];
  while (m > start && n > start && a[m - 1] === b[n - 1]) [m, n] = [m - 1, n - 1];
  const found = Array.from({ length: start }, (_, index) => [index, index]);
  for (const [x, y] of middle(a.slice(start, m), b.slice(start, n))) found.push([x + start, y + start]);
  for (let index = 0; m + index < a.length; index++) found.push([m + index, n + index]);
  return found;
}

/** Myers, "An O(ND) difference algorithm and its variations" (1986): furthest reaching paths, then the way back. */
function middle(a, b) {
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const zero = most + 1;
  const reached = new Int32Array(2 * most + 3); // by diagonal k at zero + k: how far along a
  const trace = []; // before so many edits, diagonals -edits..edits
  for (let edits = 0; edits <= most; edits++) {
    trace.push(reached.slice(zero - edits - 1, zero + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      let x = inserts(reached, zero, k, edits) ? reached[zero + k + 1] : reached[zero + k - 1] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      reached[zero + k] = x;
      if (x >= a.length && x - k >= b.length) return back(trace, a.length, b.length);
    }
  }
  return [];
}

/** Whether the furthest path to diagonal k comes from the one above it, by an insertion. */
function inserts(reached, zero, k, edits) {
  return k === -edits || (k !== edits && reached[zero + k - 1] < reached[zero + k + 1]);
}

function back(trace, x, y) {
  const found = [];
  for (let edits = trace.length - 1; edits >= 0; edits--) {
    const from = x - y + (inserts(trace[edits], edits + 1, x - y, edits) ? 1 : -1);
    const fromX = edits ? trace[edits][edits + 1 + from] : 0;
    const fromY = edits ? fromX - from : 0;
    while (x > fromX && y > fromY) found.push([(x -= 1), (y -= 1)]);
    [x, y] = [fromX, fromY];
  }
  return found.reverse();
}

function pieces(parts, kept) {
  const found = [];
  parts.forEach((text, index) => {
    const own = !kept.has(index);
    if (found.at(-1)?.own === own) found.at(-1).text += text;
    else found.push({ text, own });
  });
  return found;
}
