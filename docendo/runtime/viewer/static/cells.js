// Drawings small enough for a cell of a table.

import { h, s } from "./dom.js";
import { number } from "./format.js";

/** A dot with its interval on a common scale, small enough for a table's cell. */
export function dotCell(x, { mean, low, high, base }) {
  const [left, right] = x.range;
  return s(
    "svg",
    { viewBox: `${left - 5} 0 ${right - left + 10} 16`, class: "dot-cell", "aria-hidden": "true" },
    s("line", { class: "rail", x1: left, x2: right, y1: 8, y2: 8 }),
    base !== null && base !== undefined
      ? s("line", { class: "base", x1: x(base), x2: x(base), y1: 1, y2: 15 })
      : null,
    low !== null && low !== undefined
      ? s("line", { class: "whisker", x1: x(low), x2: x(high), y1: 8, y2: 8 })
      : null,
    mean !== null && mean !== undefined ? s("circle", { class: "dot", cx: x(mean), cy: 8, r: 4 }) : null,
  );
}

/** One value per replicate, in their order. */
export function sparkline(values, x) {
  const known = values.filter((v) => v !== null && v !== undefined);
  if (known.length < 2) return null;
  const [low, high] = x.domain;
  const at = (v) => 14 - (12 * (v - low)) / (high - low || 1);
  return h(
    "span",
    { class: "spark", title: `per replicate: ${values.map((v) => number(v)).join(", ")}` },
    s(
      "svg",
      {
        viewBox: `0 0 ${values.length * 7 + 2} 16`,
        "aria-hidden": "true",
        class: "sparkline",
        width: values.length * 7 + 2,
        height: 16,
      },
      values.map((v, i) =>
        v === null || v === undefined
          ? null
          : s("line", { x1: i * 7 + 4, x2: i * 7 + 4, y1: 15, y2: Math.min(at(v), 14) }),
      ),
    ),
  );
}
