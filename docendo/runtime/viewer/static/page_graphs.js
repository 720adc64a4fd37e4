// The graphs of a lesson, with how often each node acted and each edge was taken.

import { h, link, replace, scroller, section, segmented, select, table } from "./dom.js";
import { count, duration, plural, words } from "./format.js";
import { get } from "./data.js";
import { frame } from "./chart.js";
import { amend, to } from "./router.js";
import { graphDrawing } from "./graph.js";
import { runOf } from "./page_study.js";
import { titled } from "./shell.js";

/** The page. */
export async function graphsPage(context) {
  const { run: id, query } = context;
  const run = await runOf(id);
  const state = {
    condition: query.condition ?? run.conditions[0]?.id,
    replicate: query.replicate ?? String(run.replicates[0] ?? 0),
    phase: query.phase,
  };
  const holder = h("div");
  const lesson = h("span");
  const draw = async (changes) => {
    amend(Object.assign(state, changes));
    const { phases } = await get(`runs/${id}/lessons/${state.condition}/${state.replicate}/graphs`);
    replace(holder, phaseView(run, phases, state, draw));
    const address = to(["run", id, "lesson", state.condition, state.replicate]);
    replace(lesson, link(address, { class: "button" }, "The lesson"));
  };
  await draw({});
  const head = titled(
    "Graphs",
    "Who acts next, and how often it came to that in one lesson.",
    null,
    ...pickers(run, state, draw),
    lesson,
  );
  return {
    title: "Graphs",
    run: id,
    tab: "graphs",
    badges: run.badges,
    up: to(["run", id]),
    crumbs: [
      [run.run.name, to(["run", id])],
      ["Graphs", null],
    ],
    content: [head, holder],
  };
}

function pickers(run, state, draw) {
  const conditions = run.conditions.map((c) => [c.id, c.label]);
  const replicates = run.replicates.map((r) => [String(r), String(r + 1)]);
  return [
    select("Condition", conditions, state.condition, (condition) => draw({ condition })),
    replicates.length > 1
      ? select("Replicate", replicates, state.replicate, (replicate) => draw({ replicate }))
      : null,
  ];
}

function phaseView(run, phases, state, draw) {
  const named = phases.find((p) => p.phase === state.phase);
  const phase = named ?? phases.find((p) => p.kind === "teach") ?? phases[0];
  if (!phase) return h("p", { class: "empty" }, "No phase of this lesson has a graph.");
  const names = phases.map((p) => [p.phase, words(p.phase)]);
  return [
    h(
      "div",
      { class: "toolbar" },
      segmented("Phase", names, phase.phase, (name) => draw({ phase: name })),
    ),
    graphOf(run, phase),
  ];
}

function graphOf(run, phase) {
  const roles = Object.fromEntries(run.agents.map((a) => [a.name, a.role]));
  const numbered = ["times", "calls", "time", "tokens in", "tokens out"].map((title) => ({
    title,
    number: true,
  }));
  const rows = phase.nodes.map((n) => [
    n.id,
    `${n.agent}.${n.act}`,
    Object.entries(n.spends)
      .map(([unit, amount]) => `${unit} ${amount}`)
      .join(", ") || "–",
    count(n.count),
    count(n.calls),
    duration(n.seconds),
    count(n.prompt_tokens),
    count(n.completion_tokens),
  ]);
  const figure = frame({
    title:
      phase.name && phase.name !== phase.phase ? `${words(phase.phase)}: ${phase.name}` : words(phase.phase),
    note: `${plural(phase.episodes, "episode")}. Thick arrows fan out, dotted ones join, pale ones were never taken.`,
    name: `${run.run.name}-${phase.phase}-graph`,
    draw: () => graphDrawing(`Graph of ${phase.phase}`, phase.nodes, phase.edges, roles),
    numbers: { columns: [{ title: "node" }, { title: "act" }, { title: "spends" }, ...numbered], rows },
  });
  return h("div", { class: "graph-and-edges" }, figure, edges(phase));
}

function edges(phase) {
  const columns = [{ title: "from" }, { title: "to" }, { title: "when" }, { title: "taken", number: true }];
  const condition = (e) => [
    e.when ? h("code", {}, e.when) : null,
    e.each.length ? ` each ${e.each.join(" x ")}` : null,
    e.join ? " join" : null,
  ];
  const rows = phase.edges.map((e) => [e.source, e.target, condition(e).filter(Boolean), count(e.taken)]);
  return section("Edges", { class: "card" }, scroller("Edges", table(null, columns, rows)));
}
