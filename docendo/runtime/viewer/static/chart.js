// What all charts share: scales, axes, series that differ in colour, shape and dash, and a frame in which every chart
// can be saved as SVG or PNG and has its numbers as a table.

import { announce, button, download, h, replace, s, scroller, table } from "./dom.js";

/** Series are told apart by colour (Okabe and Ito), marker and dash together. */
export const SERIES = 8;
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "down", "plus", "ring"];

/** The class of the `i`-th series. */
export function series(i) {
  return `series-${i % SERIES}`;
}

/** A linear scale from `domain` to `range`. */
export function linear([d0, d1], [r0, r1]) {
  const scale = (value) => (d1 === d0 ? (r0 + r1) / 2 : r0 + ((value - d0) / (d1 - d0)) * (r1 - r0));
  scale.domain = [d0, d1];
  scale.range = [r0, r1];
  return scale;
}

/** Round numbers inside a domain, about `wanted` of them. */
export function ticks([low, high], wanted = 5) {
  if (!(high > low)) return [low];
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((m) => m >= raw) ?? raw;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    found.push(Number((i * step).toPrecision(10)));
  return found;
}

/** A domain around values, widened a little, snapped to [0, 1] where all of them lie in it. */
export function around(values, { unit = false, zero = false } = {}) {
  const known = values.filter((v) => v !== null && v !== undefined && Number.isFinite(v));
  if (!known.length) return [0, 1];
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  if (unit && low >= 0 && high <= 1) return [0, 1];
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  return [low === 0 ? 0 : low - pad, high === 0 ? 0 : high + pad];
}

/** A marker of the `i`-th series. */
export function marker(i, x, y, r = 4.5, attributes = {}) {
  const shape = SHAPES[i % SHAPES.length];
  const drawn = { class: `marker ${series(i)} ${attributes.class ?? ""}` };
  if (shape === "circle" || shape === "ring") {
    return s("circle", { ...attributes, class: `${drawn.class} ${shape}`, cx: x, cy: y, r });
  }
  const paths = {
    square: `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    triangle: `M${x},${y - r * 1.2}L${x + r * 1.15},${y + r}L${x - r * 1.15},${y + r}z`,
    down: `M${x},${y + r * 1.2}L${x + r * 1.15},${y - r}L${x - r * 1.15},${y - r}z`,
    diamond: `M${x},${y - r * 1.3}L${x + r * 1.3},${y}L${x},${y + r * 1.3}L${x - r * 1.3},${y}z`,
    cross: `M${x - r},${y - r}L${x + r},${y + r}M${x + r},${y - r}L${x - r},${y + r}`,
    plus: `M${x},${y - r * 1.2}V${y + r * 1.2}M${x - r * 1.2},${y}H${x + r * 1.2}`,
  };
  return s("path", { ...attributes, class: `${drawn.class} ${shape}`, d: paths[shape] });
}

/** Horizontal gridlines with their numbers, and a name for the axis. */
export function yAxis(scale, { left, right, label, format = String, wanted = 5 }) {
  const [bottom, top] = scale.range;
  return s(
    "g",
    { class: "axis" },
    ticks(scale.domain, wanted).map((value) => [
      s("line", { class: "grid", x1: left, x2: right, y1: scale(value), y2: scale(value) }),
      s("text", { x: left - 8, y: scale(value) + 4, "text-anchor": "end" }, format(value)),
    ]),
    label
      ? s(
          "text",
          { class: "axis-name", x: left, y: Math.min(top, bottom) - 12, "text-anchor": "start" },
          label,
        )
      : null,
  );
}

/** The horizontal axis: numbers of a scale, or `marks` [[x, text], ...] of named places. */
export function xAxis(scale, { y, label, format = String, marks, wanted = 6 }) {
  const [left, right] = scale.range;
  const shown = marks ?? ticks(scale.domain, wanted).map((value) => [scale(value), format(value)]);
  return s(
    "g",
    { class: "axis" },
    s("line", { class: "base", x1: left, x2: right, y1: y, y2: y }),
    shown.map(([x, text]) => [
      s("line", { class: "tick", x1: x, x2: x, y1: y, y2: y + 4 }),
      s("text", { x, y: y + 18, "text-anchor": "middle" }, text),
    ]),
    label
      ? s("text", { class: "axis-name", x: (left + right) / 2, y: y + 38, "text-anchor": "middle" }, label)
      : null,
  );
}

/** Moves labels apart so that each has its line: [{y, ...}] -> the same with `at`. */
export function spread(labels, gap, [top, bottom]) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  sorted.forEach((label, i) => (label.at = Math.max(label.y, i ? sorted[i - 1].at + gap : top)));
  for (let i = sorted.length - 1; i >= 0; i--) {
    const limit = i === sorted.length - 1 ? bottom : sorted[i + 1].at - gap;
    sorted[i].at = Math.min(sorted[i].at, limit);
  }
  return sorted;
}

/** A drawing of `width` x `height` that says in words what it shows; a picture, or a group where it holds links. */
export function drawing(width, height, title, ...children) {
  const svg = s(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      class: "chart",
      "aria-label": title,
      "data-width": width,
      "data-height": height,
    },
    ...children,
  );
  svg.setAttribute("role", svg.querySelector("a") ? "group" : "img");
  return svg;
}

const [NARROWEST, WIDEST] = [300, 860];

/** A chart in its frame. `draw(width)` gives the drawing, anew whenever the room changes; `numbers`: {columns, rows} for `table`. */
export function frame({ title, note, draw, numbers, name }) {
  const place = h("div", {}, draw(720));
  const svg = () => place.firstChild;
  const holder = h("div", { class: "numbers", hidden: true });
  const toggle = button(
    "Table",
    () => {
      if (!holder.childNodes.length)
        replace(
          holder,
          scroller(
            `${title}: numbers`,
            table(`${title}: numbers`, numbers.columns, numbers.rows, { class: "plain" }),
          ),
        );
      holder.hidden = !holder.hidden;
      toggle.setAttribute("aria-expanded", String(!holder.hidden));
    },
    { "aria-expanded": "false" },
  );
  let drawn = 720;
  new ResizeObserver(([{ contentRect }]) => {
    const width = Math.round(Math.max(NARROWEST, Math.min(WIDEST, contentRect.width)));
    if (contentRect.width && Math.abs(width - drawn) > 8) replace(place, draw((drawn = width)));
  }).observe(place);
  return h(
    "figure",
    { class: "chart-frame" },
    h(
      "figcaption",
      {},
      h("div", {}, h("strong", {}, title), note ? h("p", {}, note) : null),
      h(
        "div",
        { class: "tools" },
        button("SVG", () => download(`${name}.svg`, standalone(svg()), "image/svg+xml"), {
          title: "Save as SVG",
        }),
        button("PNG", () => savePng(svg(), name), { title: "Save as PNG" }),
        toggle,
      ),
    ),
    place,
    holder,
  );
}

const INLINED = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linecap",
  "stroke-opacity",
  "opacity",
  "font-size",
  "font-weight",
  "font-family",
  "text-anchor",
  "paint-order",
];

/** The drawing as a file of its own: its looks inlined, since the style sheet stays behind. */
export function standalone(svg) {
  const copy = svg.cloneNode(true);
  const [from, into] = [
    [svg, ...svg.querySelectorAll("*")],
    [copy, ...copy.querySelectorAll("*")],
  ];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const property of INLINED) into[i].setAttribute(property, style.getPropertyValue(property));
    for (const attribute of ["class", "tabindex", "data-focus"]) into[i].removeAttribute(attribute);
  });
  for (const anchor of copy.querySelectorAll("a")) anchor.replaceWith(...anchor.childNodes);
  const { width, height } = svg.dataset;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
  copy.prepend(s("rect", { width, height, fill: paper }));
  return new XMLSerializer().serializeToString(copy);
}

function savePng(svg, name) {
  const { width, height } = svg.dataset;
  const url = URL.createObjectURL(new Blob([standalone(svg)], { type: "image/svg+xml" }));
  const image = new Image();
  image.addEventListener("load", () => {
    const canvas = h("canvas", { width: width * 2, height: height * 2 });
    canvas.getContext("2d").drawImage(image, 0, 0, width * 2, height * 2);
    URL.revokeObjectURL(url);
    canvas.toBlob((blob) => download(`${name}.png`, blob, "image/png"), "image/png");
  });
  image.addEventListener("error", () => announce("The picture could not be drawn."));
  image.src = url;
}
