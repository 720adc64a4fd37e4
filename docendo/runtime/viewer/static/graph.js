// A scenario's graph as a drawing: layers from start to end, returns at the side, figures in the nodes.

import { s } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { drawing } from "./chart.js";

const FULL = { box: 158, tall: 54, gap: 26, layer: 100 };
const SMALL = { box: 88, tall: 24, gap: 10, layer: 52 };

/** Draws `nodes` [{id, agent, act, spends, count, seconds, ...}] and `edges` [{source, target, when, each, join, taken}]
 *  (`start` and `end` are implied). `svg.acting(name)` marks the node that is acting. `roles`: agent -> role;
 *  `small`: names only. */
export function graphDrawing(title, nodes, edges, roles, small = false) {
  const size = small ? SMALL : FULL;
  const layers = layered(
    nodes.map((n) => n.id),
    edges,
  );
  const widest = Math.max(...layers.map((l) => l.length));
  const side = 30 + 14 * edges.filter((e) => isReturn(e, layers)).length;
  const width = Math.max(small ? 300 : 360, widest * (size.box + size.gap) + (small ? side : 2 * side));
  const height = layers.length * size.layer - size.layer + 60;
  const places = new Map();
  layers.forEach((layer, i) =>
    layer.forEach((name, j) =>
      places.set(name, {
        layer: i,
        x: width / 2 + (j - (layer.length - 1) / 2) * (size.box + size.gap),
        y: 26 + i * size.layer + (name === "start" || name === "end" ? 0 : 6),
      }),
    ),
  );
  let lane = 0;
  const arrows = edges
    .filter((e) => places.has(e.source) && places.has(e.target))
    .map((edge) => arrow(edge, places, width, () => lane++, size));
  const boxes = [["start"], ["end"], ...nodes.map((n) => [n.id, n])].map(([name, node]) =>
    box(name, node, places.get(name), roles, size),
  );
  const svg = drawing(
    width,
    height,
    title,
    s(
      "defs",
      {},
      s(
        "marker",
        {
          id: "arrow",
          viewBox: "0 0 8 8",
          refX: 7,
          refY: 4,
          markerWidth: 7,
          markerHeight: 7,
          orient: "auto-start-reverse",
        },
        s("path", { class: "arrow-head", d: "M0,0L8,4L0,8z" }),
      ),
    ),
    arrows,
    boxes,
  );
  svg.classList.add("graph");
  svg.acting = (name) => {
    for (const element of svg.querySelectorAll("[data-node]"))
      element.classList.toggle("acting", element.dataset.node === name);
  };
  return svg;
}

function isReturn(edge, layers) {
  const at = (name) => layers.findIndex((l) => l.includes(name));
  return at(edge.target) <= at(edge.source) || at(edge.target) - at(edge.source) > 1;
}

/** Layers by longest way from the start, returns left out of account; inside a layer by where its neighbours stand. */
function layered(names, edges) {
  const next = new Map([["start", []], ["end", []], ...names.map((n) => [n, []])]);
  for (const { source, target } of edges)
    if (next.has(source) && next.has(target)) next.get(source).push(target);
  const rank = new Map();
  const back = returns(next);
  const visit = (name, depth) => {
    if ((rank.get(name) ?? -1) >= depth) return;
    rank.set(name, depth);
    for (const to of next.get(name)) if (!back.has(`${name} ${to}`)) visit(to, depth + 1);
  };
  visit("start", 0);
  for (const name of names) if (!rank.has(name)) rank.set(name, 1);
  rank.delete("end");
  rank.set("end", Math.max(...rank.values()) + 1);
  const layers = [];
  for (const [name, depth] of rank) (layers[depth] ??= []).push(name);
  const kept = layers.filter(Boolean);
  const order = (name, other) => {
    const near = edges.flatMap((e) =>
      e.target === name && other.includes(e.source)
        ? [other.indexOf(e.source)]
        : e.source === name && other.includes(e.target)
          ? [other.indexOf(e.target)]
          : [],
    );
    return near.length ? near.reduce((a, b) => a + b, 0) / near.length : 0;
  };
  for (let i = 1; i < kept.length; i++) kept[i].sort((a, b) => order(a, kept[i - 1]) - order(b, kept[i - 1]));
  return kept;
}

function returns(next) {
  const [found, state] = [new Set(), new Map()];
  const visit = (name) => {
    state.set(name, "open");
    for (const to of next.get(name)) {
      if (state.get(to) === "open") found.add(`${name} ${to}`);
      else if (!state.has(to)) visit(to);
    }
    state.set(name, "done");
  };
  visit("start");
  for (const name of next.keys()) if (!state.has(name)) visit(name);
  return found;
}

function arrow(edge, places, width, lane, { box: wide, tall }) {
  const [a, b] = [places.get(edge.source), places.get(edge.target)];
  const [ay, by] = [
    a.y + (edge.source === "start" ? 14 : tall / 2 + 5),
    b.y - (edge.target === "end" ? 14 : tall / 2 - 3),
  ];
  const kind = edge.each.length ? "fan" : edge.join ? "join" : "";
  let d;
  if (b.layer === a.layer + 1)
    d = `M${a.x},${ay}C${a.x},${(ay + by) / 2} ${b.x},${(ay + by) / 2} ${b.x},${by}`;
  else {
    const right = (a.x + b.x) / 2 >= width / 2;
    const out = right ? width - 8 - lane() * 11 : 8 + lane() * 11;
    const edgeX = (place, name) =>
      place.x + (right ? 1 : -1) * (name === "start" || name === "end" ? 30 : wide / 2);
    d = `M${edgeX(a, edge.source)},${a.y + 4}C${out},${a.y + 4} ${out},${a.y + 4} ${out},${(a.y + b.y) / 2}S${out},${b.y + 4} ${edgeX(b, edge.target)},${b.y + 4}`;
  }
  return s(
    "g",
    { class: `edge ${kind} ${edge.taken ? "" : "untaken"}` },
    s("path", { d, "marker-end": "url(#arrow)" }),
    s(
      "title",
      {},
      `${edge.source} → ${edge.target}${edge.when ? ` when ${edge.when}` : ""}${edge.each.length ? `, each ${edge.each.join(" x ")}` : ""}; taken ${count(edge.taken)}×`,
    ),
  );
}

function box(name, node, place, roles, size) {
  if (!node)
    return s(
      "g",
      { class: "terminal", "data-node": name },
      s("rect", { x: place.x - 30, y: place.y - 14, width: 60, height: 28, rx: 14 }),
      s("text", { x: place.x, y: place.y + 4, "text-anchor": "middle" }, name),
    );
  const figures = [
    `${count(node.count)}×`,
    node.completion_tokens ? `${count(node.completion_tokens)} tok` : null,
    node.seconds ? duration(node.seconds) : null,
  ]
    .filter(Boolean)
    .join(" · ");
  const spends = Object.entries(node.spends ?? {})
    .map(([unit, n]) => `−${n} ${unit}`)
    .join(", ");
  const left = place.x - size.box / 2;
  const small = size === SMALL;
  return s(
    "g",
    { class: `node role-${roles[node.agent] ?? node.agent}`, "data-node": name },
    s("rect", {
      class: "node-box",
      x: left,
      y: place.y - size.tall / 2 + 4,
      width: size.box,
      height: size.tall,
      rx: 7,
    }),
    s("rect", { class: "node-bar", x: left, y: place.y - size.tall / 2 + 4, width: 5, height: size.tall }),
    s("text", { class: "node-name", x: left + 14, y: place.y + (small ? 8 : -8) }, name),
    small
      ? null
      : [
          s(
            "text",
            { class: "node-figures", x: left + size.box - 8, y: place.y - 8, "text-anchor": "end" },
            spends,
          ),
          s("text", { class: "node-act", x: left + 14, y: place.y + 8 }, `${node.agent}.${node.act}`),
          s("text", { class: "node-figures", x: left + 14, y: place.y + 23 }, figures),
        ],
    s(
      "title",
      {},
      `${name}: ${node.agent}.${node.act}${spends ? `, spends ${spends}` : ""}; ${plural(node.count, "visit")}, ${plural(node.calls, "call")}, ${count(node.prompt_tokens)} tokens in, ${count(node.completion_tokens)} out, ${duration(node.seconds)}`,
    ),
  );
}
