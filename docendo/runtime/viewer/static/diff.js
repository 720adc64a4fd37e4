// What two texts share, word by word (longest common subsequence).

import { h } from "./dom.js";

const MOST = 1500;

/** [[kind, text], ...] with kind `same`, `gone` (only in the first) or `new` (only in the second). */
export function diffWords(first, second) {
  const [a, b] = [split(first), split(second)];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end])
    end++;
  const middle = common(a.slice(start, a.length - end), b.slice(start, b.length - end));
  const whole = [
    ...a.slice(0, start).map((w) => ["same", w]),
    ...middle,
    ...a.slice(a.length - end).map((w) => ["same", w]),
  ];
  const merged = [];
  for (const [kind, word] of whole) {
    if (merged.at(-1)?.[0] === kind) merged.at(-1)[1] += word;
    else merged.push([kind, word]);
  }
  return merged;
}

function split(text) {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

function common(a, b) {
  if (a.length > MOST || b.length > MOST) return [...a.map((w) => ["gone", w]), ...b.map((w) => ["new", w])];
  const width = b.length + 1;
  const length = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i * width + j] =
        a[i] === b[j]
          ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) (found.push(["same", a[i++]]), j++);
    else if (j < b.length && (i === a.length || length[i * width + j + 1] > length[(i + 1) * width + j]))
      found.push(["new", b[j++]]);
    else found.push(["gone", a[i++]]);
  }
  return found;
}

/** One side of a difference: `side` is `first` or `second`. What is on this side only is marked. */
export function diffSide(parts, side) {
  const mine = side === "first" ? "gone" : "new";
  return parts
    .filter(([kind]) => kind === "same" || kind === mine)
    .map(([kind, text]) => (kind === "same" ? text : h(side === "first" ? "del" : "ins", {}, text)));
}

/** Share of the words that both texts have, from 0 to 1. */
export function likeness(parts) {
  const size = (kind) => parts.filter(([k]) => k === kind).reduce((sum, [, t]) => sum + t.length, 0);
  const same = size("same");
  return same ? (2 * same) / (2 * same + size("gone") + size("new")) : 0;
}
