// The charts of a study: lines over an axis, calibration, forest and dumbbells. Each takes plain data and gives a framed figure.

import { s } from "./dom.js";
import { interval, number, signed } from "./format.js";
import { around, drawing, frame, linear, marker, series, spread, xAxis, yAxis } from "./chart.js";

/** Lines with intervals. `lines`: [{label, points: [{x, mean, low, high, n, href}], control?}]; `levels`: controls without a
 *  place on the axis, [{label, mean, low, high}]; `places`: names of x = 0, 1, 2 ... where the axis has no numbers. */
export function lineChart({
  title,
  note,
  name,
  lines,
  levels = [],
  xLabel,
  yLabel,
  places,
  xFormat = String,
  unit = true,
}) {
  const rows = [...lines, ...levels.map((l) => ({ label: l.label, points: [l] }))].flatMap((line) =>
    line.points.map((p) => [
      line.label,
      p.x === undefined ? "–" : places ? places[p.x] : xFormat(p.x),
      number(p.mean, 3),
      interval(p.low, p.high, 3),
      p.n ?? "–",
    ]),
  );
  const columns = [
    { title: "line" },
    { title: xLabel ?? "at" },
    { title: "mean", number: true },
    { title: "95 % interval", number: true },
    { title: "n", number: true },
  ];
  return frame({
    title,
    note,
    name,
    numbers: { columns, rows },
    draw: (width) => lineDrawing(width, { title, lines, levels, xLabel, yLabel, places, xFormat, unit }),
  });
}

function lineDrawing(width, { title, lines, levels, xLabel, yLabel, places, xFormat, unit }) {
  const [height, left] = [360, 54];
  const all = [...lines.flatMap((l) => l.points), ...levels];
  const y = linear(
    around(
      all.flatMap((p) => [p.mean, p.low, p.high]),
      { unit },
    ),
    [height - 56, 34],
  );
  const xs = lines.flatMap((l) => l.points.map((p) => p.x));
  const longest = Math.max(8, ...[...lines, ...levels].map((l) => l.label.length));
  const right = width - Math.min(width * 0.36, 24 + longest * 6.6);
  const x = linear(
    places ? [-0.25, places.length - 0.75] : xs.length ? [Math.min(...xs), Math.max(...xs)] : [0, 1],
    [left + 8, right],
  );
  const shift = (i) => (lines.length > 1 ? (i - (lines.length - 1) / 2) * Math.min(5, 24 / lines.length) : 0);
  const marks =
    places?.map((text, i) => [x(i), text]) ??
    [...new Set(xs)].sort((a, b) => a - b).map((v) => [x(v), xFormat(v)]);
  const labels = [
    ...lines.map((line, i) => ({ line, i, y: y(line.points.at(-1)?.mean ?? 0) })),
    ...levels.map((line) => ({ line, i: null, y: y(line.mean) })),
  ];
  return drawing(
    width,
    height,
    `${title}. ${lines.map((l) => `${l.label}: ${l.points.map((p) => number(p.mean)).join(", ")}`).join("; ")}`,
    yAxis(y, { left, right, label: yLabel, format: (v) => number(v, tickDigits(y)) }),
    xAxis(x, { y: height - 56, label: xLabel, marks }),
    levels.map((level) => levelOf(level, y, left, right)),
    lines.map((line, i) => lineOf(line, i, x, y, shift(i))),
    spread(labels, 15, [30, height - 60]).map(({ line, i, y: from, at }) =>
      s(
        "g",
        { class: i === null || line.control ? "end level" : `end ${series(i)}` },
        s("path", {
          class: "leader",
          d: `M${right + 4 + (i === null ? 0 : shift(i))},${from}L${right + 15},${at}`,
        }),
        s("text", { x: right + 19, y: at + 4 }, shortened(line.label, (width - right - 22) / 6.4)),
      ),
    ),
  );
}

function shortened(text, letters) {
  return text.length <= letters ? text : `${text.slice(0, Math.max(4, Math.floor(letters) - 1))}…`;
}

function levelOf(level, y, left, right) {
  const known = level.low !== null && level.low !== undefined;
  return s(
    "g",
    { class: "level" },
    known
      ? s("rect", {
          class: "band",
          x: left,
          width: right - left,
          y: y(level.high),
          height: Math.max(1, y(level.low) - y(level.high)),
        })
      : null,
    s("line", { class: "control-line", x1: left, x2: right, y1: y(level.mean), y2: y(level.mean) }),
  );
}

function lineOf(line, i, x, y, dx) {
  const known = line.points.filter((p) => p.mean !== null && p.mean !== undefined);
  return s(
    "g",
    { class: `line ${line.control ? "of-control" : series(i)}` },
    s("path", {
      class: "stroke",
      d: known.map((p, n) => `${n ? "L" : "M"}${x(p.x) + dx},${y(p.mean)}`).join(""),
    }),
    known.map((p) => {
      const parts = [
        p.low !== null && p.low !== undefined
          ? s("line", { class: "whisker", x1: x(p.x) + dx, x2: x(p.x) + dx, y1: y(p.low), y2: y(p.high) })
          : null,
        line.control
          ? s("circle", { class: "marker", cx: x(p.x) + dx, cy: y(p.mean), r: 3 })
          : marker(i, x(p.x) + dx, y(p.mean)),
        s(
          "title",
          {},
          `${line.label}: ${number(p.mean, 3)} ${interval(p.low, p.high, 3)}${p.n ? `, n = ${p.n}` : ""}`,
        ),
      ];
      return p.href
        ? s("a", { href: p.href, "aria-label": `${line.label}, ${number(p.mean)}` }, parts)
        : s("g", {}, parts);
    }),
  );
}

function tickDigits(scale) {
  const span = Math.abs(scale.domain[1] - scale.domain[0]);
  return span >= 10 ? 0 : span >= 0.5 ? 1 : span >= 0.05 ? 2 : 3;
}

/** How often the student was right, where the teacher said p. `lines`: [{label, brier, bins: [{p, observed, low, high, n}]}]. */
export function calibrationChart({ title, note, name, lines }) {
  const rows = lines.flatMap((l) =>
    l.bins.map((b) => [l.label, number(b.p, 3), number(b.observed, 3), interval(b.low, b.high, 3), b.n]),
  );
  const columns = [
    { title: "student model" },
    { title: "believed", number: true },
    { title: "was right", number: true },
    { title: "95 % interval", number: true },
    { title: "n", number: true },
  ];
  return frame({
    title,
    note,
    name,
    numbers: { columns, rows },
    draw: (width) => calibrationDrawing(width, title, lines),
  });
}

function calibrationDrawing(width, title, lines) {
  const below = width < 620;
  const x = linear([0, 1], [54, 354]);
  const y = linear([0, 1], [340, 34]);
  const most = Math.max(1, ...lines.flatMap((l) => l.bins.map((b) => b.n)));
  const at = (i) => (below ? [66, 402 + i * 20] : [398, 48 + i * 24]);
  return drawing(
    width,
    below ? 406 + lines.length * 20 : 390,
    `${title}. ${lines.map((l) => `${l.label}: Brier ${number(l.brier, 3)}`).join("; ")}`,
    yAxis(y, { left: 54, right: 354, label: "was right", format: (v) => number(v, 1) }),
    xAxis(x, { y: 340, label: "believed probability of being right", format: (v) => number(v, 1) }),
    s("line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    lines.map((line, i) =>
      s(
        "g",
        { class: `line ${series(i)}` },
        s("path", {
          class: "stroke thin",
          d: line.bins.map((b, n) => `${n ? "L" : "M"}${x(b.p)},${y(b.observed)}`).join(""),
        }),
        line.bins.map((b) =>
          s(
            "g",
            {},
            b.low !== null && b.low !== undefined
              ? s("line", { class: "whisker", x1: x(b.p), x2: x(b.p), y1: y(b.low), y2: y(b.high) })
              : null,
            marker(i, x(b.p), y(b.observed), 3 + 5 * Math.sqrt(b.n / most)),
            s("title", {}, `${line.label}: said ${number(b.p)}, was ${number(b.observed)} over ${b.n}`),
          ),
        ),
      ),
    ),
    lines.map((line, i) =>
      s(
        "g",
        { class: `end ${series(i)}` },
        marker(i, ...at(i)),
        s("text", { x: at(i)[0] + 14, y: at(i)[1] + 4 }, `${line.label}: Brier ${number(line.brier, 3)}`),
      ),
    ),
  );
}

/** Differences with their intervals around zero. `rows`: [{label, mean, low, high, note, verdict}]. */
export function forest({ title, note, name, rows, left, right }) {
  const columns = [
    { title: "measure" },
    { title: "difference", number: true },
    { title: "95 % interval", number: true },
    { title: "note" },
  ];
  return frame({
    title,
    note,
    name,
    numbers: {
      columns,
      rows: rows.map((r) => [r.label, signed(r.mean, 3), interval(r.low, r.high, 3), r.note ?? ""]),
    },
    draw: (width) => forestDrawing(width, { title, rows, left, right }),
  });
}

function forestDrawing(width, { title, rows, left, right }) {
  const known = rows.filter((r) => r.mean !== null && r.mean !== undefined);
  const [step, figures] = [30, 152];
  const height = 54 + rows.length * step + 30;
  const widest = Math.min(width * 0.34, 20 + Math.max(6, ...rows.map((r) => r.label.length)) * 6.8);
  const bound =
    Math.max(0.05, ...known.flatMap((r) => [Math.abs(r.mean), Math.abs(r.low ?? 0), Math.abs(r.high ?? 0)])) *
    1.08;
  const x = linear([-bound, bound], [widest, width - figures - 16]);
  return drawing(
    width,
    height,
    `${title}. ${known.map((r) => `${r.label}: ${signed(r.mean)}`).join("; ")}`,
    xAxis(x, { y: height - 30, format: (v) => signed(v, tickDigits(x)), wanted: 4 }),
    s("text", { class: "side", x: x(0) - 12, y: 20, "text-anchor": "end" }, `← ${left}`),
    s("text", { class: "side", x: x(0) + 12, y: 20, "text-anchor": "start" }, `${right} →`),
    s("line", { class: "zero", x1: x(0), x2: x(0), y1: 30, y2: height - 30 }),
    rows.map((row, i) =>
      s(
        "g",
        { class: "forest-row" },
        s(
          "text",
          { x: widest - 14, y: 58 + i * step, "text-anchor": "end" },
          shortened(row.label, widest / 6.4),
        ),
        forestRow(row, 54 + i * step, x, width),
        s("title", {}, row.note ?? row.label),
      ),
    ),
  );
}

function forestRow(row, at, x, width) {
  if (row.mean === null || row.mean === undefined)
    return s("text", { class: "muted", x: x(0) + 8, y: at + 4 }, "no pairs");
  return [
    row.low !== null && row.low !== undefined
      ? s("line", { class: "whisker", x1: x(row.low), x2: x(row.high), y1: at, y2: at })
      : null,
    s("rect", { class: `box ${row.verdict ?? ""}`, x: x(row.mean) - 5, y: at - 5, width: 10, height: 10 }),
    s(
      "text",
      { class: "value", x: width - 6, y: at + 4, "text-anchor": "end" },
      `${{ good: "✓ ", bad: "✗ " }[row.verdict] ?? ""}${signed(row.mean)} ${interval(row.low, row.high)}`,
    ),
  ];
}

/** Two values per item, joined. `rows`: [{label, a, b, href, title}]; `names`: [first, second]. */
export function dumbbells({ title, note, name, rows, names, unit = true }) {
  const columns = [
    { title: "item" },
    { title: names[0], number: true },
    { title: names[1], number: true },
    { title: "difference", number: true },
  ];
  const numbers = {
    columns,
    rows: rows.map((r) => [
      r.label,
      number(r.a, 3),
      number(r.b, 3),
      r.a !== null && r.b !== null ? signed(r.a - r.b, 3) : "–",
    ]),
  };
  return frame({
    title,
    note,
    name,
    numbers,
    draw: (width) => dumbbellDrawing(width, { title, rows, names, unit }),
  });
}

function dumbbellDrawing(width, { title, rows, names, unit }) {
  const step = 24;
  const height = 66 + rows.length * step + 22;
  const widest = Math.min(width * 0.4, 24 + Math.max(4, ...rows.map((r) => r.label.length)) * 6.8);
  const x = linear(
    around(
      rows.flatMap((r) => [r.a, r.b]),
      { unit },
    ),
    [widest, width - 62],
  );
  return drawing(
    width,
    height,
    `${title}. ${rows.length} items.`,
    marker(0, widest + 4, 14),
    s("text", { class: "end", x: widest + 14, y: 18 }, names[0]),
    marker(1, widest + 4, 34),
    s("text", { class: "end", x: widest + 14, y: 38 }, names[1]),
    xAxis(x, { y: height - 22, format: (v) => number(v, tickDigits(x)) }),
    rows.map((row, i) => {
      const parts = dumbbell(row, 66 + i * step, x, { width, widest, step });
      return row.href
        ? s("a", { href: row.href, "data-row": true, "data-focus": `item-${row.label}` }, parts)
        : s("g", {}, parts);
    }),
  );
}

function dumbbell(row, at, x, { width, widest, step }) {
  const both = row.a !== null && row.b !== null;
  const apart = row.a === row.b ? 3 : 0;
  return [
    s("rect", { class: "hit", x: 0, y: at - step / 2, width, height: step }),
    s("text", { x: widest - 14, y: at + 4, "text-anchor": "end" }, shortened(row.label, widest / 6.4)),
    s("line", { class: "rail", x1: widest, x2: width - 62, y1: at, y2: at }),
    both
      ? s("line", {
          class: `bar ${row.a > row.b ? "up" : row.a < row.b ? "down" : ""}`,
          x1: x(row.a),
          x2: x(row.b),
          y1: at,
          y2: at,
        })
      : null,
    row.a !== null ? marker(0, x(row.a), at - apart) : null,
    row.b !== null ? marker(1, x(row.b), at + apart) : null,
    s(
      "text",
      { class: "value", x: width - 6, y: at + 4, "text-anchor": "end" },
      both ? signed(row.a - row.b) : "–",
    ),
    s("title", {}, row.title ?? row.label),
  ];
}
