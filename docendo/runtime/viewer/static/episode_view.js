// The body of an episode: its rows, the bar above them, the panel beside them, and where the reader is.

import { h, link, replace, segmented } from "./dom.js";
import { count, duration, words } from "./format.js";
import { get } from "./data.js";
import { amend, onLeave, to } from "./router.js";
import { beliefPanel } from "./beliefs.js";
import { graphDrawing } from "./graph.js";
import { player } from "./player.js";
import { drawer } from "./saw.js";
import { laneOf, stepOf, turnKey } from "./transcript.js";
import { groups, turnText } from "./turns.js";

/** From so many steps on, rows out of sight are not laid out. */
const LONG = 150;

/** The view: {element, shown, keys}. */
export function episodeView(run, { page, all, flags, limits, path }, query) {
  const { roles } = page;
  const reader = position(all, query);
  let calls = null;
  const saw = drawer({
    all,
    roles,
    calls: () => (calls ??= get(`${path}/calls`)),
    moved: (step) => amend({ saw: step ? turnKey(step) : null }),
  });
  const open = (step) => (reader.choose(step.index, false), saw.open(step));
  const lens = lensOf(page, all, query, (name) => {
    const view = { roles, flags, lens: name, open, choose: (step) => reader.choose(step.index, false) };
    reader.put(groups(all, view));
  });
  const bar = player(all, { roles, limits, flags, choose: reader.choose, playing: reader.play });
  reader.hear((at) => bar.at(at));
  const margin = all.some((step) => laneOf(step, roles) === "margin");
  const root = h("div", { class: `episode ${margin ? "" : "no-margin"}` });
  const panel = sidePanel(run, { page, all }, query, reader, root);
  const switches = h("div", { class: "row" }, lens.element, h("span", { class: "spacer" }), panel.switch);
  replace(
    root,
    h("div", { class: "bar-top" }, bar.element, switches),
    h("div", { class: "dialogue" }, lanesHead(all, roles), reader.list),
    panel.element,
  );
  lens.draw();
  onLeave(() => (bar.stop(), saw.dialog.remove(), panel.leave()));
  const shown = () => {
    fit(root);
    reader.arrive();
    if (stepOf(all, query.saw) >= 0) saw.open(all[stepOf(all, query.saw)]);
  };
  return { element: root, shown, keys: keysOf({ reader, all, bar, saw, panel, lens }) };
}

/** Where the reader is in an episode: the rows, which of them is the present one, and who wants to know. */
function position(all, query) {
  const state = {
    at: Math.max(0, stepOf(all, query.turn)),
    chosen: stepOf(all, query.turn) >= 0,
    playing: false,
  };
  const list = h("ol", { class: `turns ${all.length > LONG ? "long" : ""}`, "aria-label": "Turns" });
  const listeners = [];
  let rows = [];
  const mark = (scroll) => {
    rows.forEach((element, i) => {
      element.classList.toggle("current", i === state.at && state.chosen);
      element.classList.toggle("future", state.playing && i > state.at);
    });
    for (const listener of listeners) listener(state.chosen ? state.at : all.length - 1, state.chosen);
    if (scroll) reveal(rows[state.at]);
  };
  const choose = (index, scroll = true) => {
    [state.at, state.chosen] = [Math.max(0, Math.min(all.length - 1, index)), true];
    amend({ turn: turnKey(all[state.at]) });
    mark(scroll);
  };
  return {
    list,
    choose,
    at: () => state.at,
    hear: (listener) => listeners.push(listener),
    move: (by) => choose(state.chosen ? state.at + by : by > 0 ? 0 : all.length - 1),
    play: (on) => ((state.playing = on), mark(false)),
    put: ([shown, elements]) => ((rows = elements), replace(list, shown), mark(false)),
    arrive: () => state.chosen && requestAnimationFrame(() => reveal(rows[state.at])),
  };
}

function keysOf({ reader, all, bar, saw, panel, lens }) {
  return [
    { keys: "j or ArrowDown", does: "next turn", run: () => reader.move(1) },
    { keys: "k or ArrowUp", does: "previous turn", run: () => reader.move(-1) },
    { keys: "Home", does: "first turn", run: () => reader.choose(0) },
    { keys: "End", does: "last turn", run: () => reader.choose(all.length - 1) },
    { keys: "Space", does: "play, pause", run: () => bar.toggle() },
    { keys: "w", does: "what the agent of this turn saw", run: () => saw.open(all[reader.at()]) },
    { keys: "b", does: "belief against truth", run: () => panel.show("belief") },
    { keys: "d", does: "the graph at this turn", run: () => panel.show("graph") },
    { keys: "x", does: "facts of the episode", run: () => panel.show("facts") },
    { keys: "l", does: "next lens: only what one agent can read", run: () => lens.next() },
  ];
}

/** Scrolls so that a row stands below the bars that stay. */
function reveal(element) {
  const bar = document.querySelector(".bar-top").getBoundingClientRect();
  const box = element.getBoundingClientRect();
  if (box.top < bar.bottom + 8) scrollBy(0, box.top - bar.bottom - 8);
  else if (box.bottom > innerHeight - 12)
    scrollBy(0, Math.min(box.top - bar.bottom - 8, box.bottom - innerHeight + 12));
}

/** Tells the style sheet how high the bar is, so that turn numbers and the panel stay below it. */
function fit(root) {
  const bar = root.querySelector(".bar-top");
  const measure = () => root.style.setProperty("--bar-height", `${bar.offsetHeight}px`);
  measure();
  new ResizeObserver(measure).observe(bar);
}

function lensOf(page, all, query, draw) {
  const names = [
    "",
    ...new Set(
      all
        .filter((s) => s.calls.length || s.messages.length)
        .map((s) => s.agent)
        .filter(Boolean),
    ),
  ];
  let chosen = names.includes(query.lens) ? query.lens : "";
  const element = h("div", { class: "row" });
  const show = () => {
    replace(
      element,
      h("span", { class: "soft small" }, "Read as"),
      segmented(
        "Read as",
        names.map((a) => [
          a,
          a || "everybody",
          a ? `Only what ${a} can read; the rest is struck out` : "Everything that was said",
        ]),
        chosen,
        take,
      ),
    );
    draw(chosen);
  };
  const take = (name) => {
    chosen = name;
    amend({ lens: name });
    show();
  };
  return { element, draw: show, next: () => take(names[(names.indexOf(chosen) + 1) % names.length]) };
}

function lanesHead(all, roles) {
  const agents = [...new Set(all.map((s) => s.agent).filter(Boolean))];
  const of = (test) => agents.filter(test).join(", ");
  return h(
    "div",
    { class: "lanes-head", "aria-hidden": "true" },
    h(
      "span",
      { class: "lanes" },
      h(
        "span",
        {},
        of((a) => roles[a] === "teacher"),
      ),
      h(
        "span",
        {},
        of((a) => roles[a] === "student"),
      ),
    ),
    h(
      "span",
      { class: "m" },
      of((a) => roles[a] !== "teacher" && roles[a] !== "student"),
    ),
  );
}

function sidePanel(run, { page, all }, query, reader, root) {
  const wide = matchMedia("(min-width: 1121px)");
  const beliefs = beliefPanel(all, page.beliefs, reader.choose);
  if (beliefs) reader.hear((at) => beliefs.at(at));
  const graph = graphPanel(run, page, all, reader);
  const parts = {
    belief: beliefs ? () => [h("h2", {}, "Belief against truth"), beliefs.element] : null,
    graph,
    facts: () => facts(page, all),
  };
  const options = [
    ["belief", "Belief", "Belief against truth (b)"],
    ["graph", "Graph", "The graph at this turn (d)"],
    ["facts", "Facts", "Facts of the episode (x)"],
  ].filter(([name]) => parts[name]);
  const usual = () => (wide.matches ? options[0][0] : "none");
  let open = query.panel ?? null;
  const element = h("aside", { class: "side", "aria-label": "Panel", tabindex: "0" });
  const switcher = h("div", { class: "row" });
  const draw = () => {
    const now = open ?? usual();
    root.classList.toggle("wide", !parts[now]);
    element.hidden = !parts[now];
    replace(element, parts[now] ? parts[now]() : null);
    replace(switcher, segmented("Panel", options, now, show));
  };
  const show = (name) => {
    if (!parts[name]) return false;
    open = (open ?? usual()) === name ? "none" : name;
    amend({ panel: open === usual() ? null : open });
    draw();
  };
  wide.addEventListener("change", draw);
  draw();
  return { element, switch: switcher, show, leave: () => wide.removeEventListener("change", draw) };
}

function graphPanel(run, page, all, reader) {
  const holder = h("div", {}, h("p", { class: "waiting" }, "Reading the graph …"));
  const { condition, replicate, phase } = page.row;
  const acting = new Map(
    page.nodes.map((n) => [n.branch ? `${n.turn}~${n.branch}` : String(n.turn), n.node]),
  );
  let drawn = null;
  let last = [all.length - 1, false];
  const mark = (at, chosen) => {
    last = [at, chosen];
    drawn?.acting(chosen ? (acting.get(turnKey(all[at])) ?? (all[at].stops.length ? "end" : "")) : "");
  };
  reader.hear(mark);
  let asked = false;
  const load = async () => {
    const found = (await get(`runs/${run}/lessons/${condition}/${replicate}/graphs`)).phases.find(
      (g) => g.phase === phase,
    );
    if (!found) return replace(holder, h("p", { class: "empty" }, "This phase has no graph."));
    drawn = graphDrawing(`Graph of ${words(phase)}`, found.nodes, found.edges, page.roles, true);
    replace(
      holder,
      drawn,
      h(
        "p",
        { class: "small soft" },
        "Marked: the node that acts at this turn. ",
        link(to(["run", run, "graphs"], { condition, replicate, phase }), {}, "All graphs of the lesson"),
      ),
    );
    mark(...last);
  };
  return () => {
    if (!asked) load().catch((error) => replace(holder, h("p", { class: "notice" }, error.message)));
    asked = true;
    return [h("h2", {}, "Graph"), holder];
  };
}

function facts(page, all) {
  const { row } = page;
  const seconds = Object.values(page.calls).reduce((n, c) => n + c.latency_s, 0);
  const pairs = [
    ["condition", page.label],
    ["replicate", row.replicate + 1],
    ["phase", `${words(row.phase)} (${row.phase_kind})`],
    ["item", row.item || "–"],
    ["student", row.student || "–"],
    ["turns", turnText(all.at(-1))],
    ["events", count(row.events)],
    ["calls", `${count(row.calls)}, ${duration(seconds)}`],
    [
      "spent",
      Object.entries(row.spent)
        .map(([u, n]) => `${words(u)} ${n}`)
        .join(", ") || "nothing",
    ],
    ["moves", row.moves.join(", ") || "–"],
    ["time", duration(row.wall_s)],
    ["episode", h("code", {}, row.key)],
    ["digest", h("code", {}, page.digest)],
    ...Object.entries(page.coordinates).map(([k, v]) => [k, String(v)]),
  ];
  return [
    h("h2", {}, "Facts"),
    h(
      "dl",
      { class: "pairs" },
      pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
  ];
}
