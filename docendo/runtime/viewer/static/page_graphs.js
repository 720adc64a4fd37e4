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
  const roles = Object.fromEntries(run.agents.map((a) => [a.name, a.role]));
  const state = {
    condition: query.condition ?? run.conditions[0]?.id,
    replicate: query.replicate ?? String(run.replicates[0] ?? 0),
    phase: query.phase,
  };
  const holder = h("div");
  const draw = async () => {
    amend(state);
    const { phases } = await get(`runs/${id}/lessons/${state.condition}/${state.replicate}/graphs`);
    const phase =
      phases.find((p) => p.phase === state.phase) ?? phases.find((p) => p.kind === "teach") ?? phases[0];
    replace(
      holder,
      phase
        ? [
            h(
              "div",
              { class: "toolbar" },
              segmented(
                "Phase",
                phases.map((p) => [p.phase, words(p.phase)]),
                phase.phase,
                (name) => ((state.phase = name), draw()),
              ),
            ),
            graphOf(run, phase, roles),
          ]
        : h("p", { class: "empty" }, "No phase of this lesson has a graph."),
    );
  };
  await draw();
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
    content: [
      titled(
        "Graphs",
        "Who acts next, and how often it came to that in one lesson.",
        null,
        select(
          "Condition",
          run.conditions.map((c) => [c.id, c.label]),
          state.condition,
          (v) => ((state.condition = v), draw()),
        ),
        run.replicates.length > 1
          ? select(
              "Replicate",
              run.replicates.map((r) => [String(r), String(r + 1)]),
              state.replicate,
              (v) => ((state.replicate = v), draw()),
            )
          : null,
        link(to(["run", id, "lesson", state.condition, state.replicate]), { class: "button" }, "The lesson"),
      ),
      holder,
    ],
  };
}

function graphOf(run, phase, roles) {
  const numbers = {
    columns: [
      { title: "node" },
      { title: "act" },
      { title: "spends" },
      { title: "times", number: true },
      { title: "calls", number: true },
      { title: "time", number: true },
      { title: "tokens in", number: true },
      { title: "tokens out", number: true },
    ],
    rows: phase.nodes.map((n) => [
      n.id,
      `${n.agent}.${n.act}`,
      Object.entries(n.spends)
        .map(([u, a]) => `${a} ${u}`)
        .join(", ") || "–",
      count(n.count),
      count(n.calls),
      duration(n.seconds),
      count(n.prompt_tokens),
      count(n.completion_tokens),
    ]),
  };
  const figure = frame({
    title:
      phase.name && phase.name !== phase.phase ? `${words(phase.phase)}: ${phase.name}` : words(phase.phase),
    note: `${plural(phase.episodes, "episode")}. Thick arrows fan out, dotted ones join, pale ones were never taken.`,
    name: `${run.run.name}-${phase.phase}-graph`,
    draw: () => graphDrawing(`Graph of ${phase.phase}`, phase.nodes, phase.edges, roles),
    numbers,
  });
  return h(
    "div",
    { class: "graph-and-edges" },
    figure,
    section(
      "Edges",
      { class: "card" },
      scroller(
        "Edges",
        table(
          null,
          [{ title: "from" }, { title: "to" }, { title: "when" }, { title: "taken", number: true }],
          phase.edges.map((e) => [
            e.source,
            e.target,
            [
              e.when ? h("code", {}, e.when) : null,
              e.each.length ? ` each ${e.each.join(" x ")}` : null,
              e.join ? " join" : null,
            ].filter(Boolean),
            count(e.taken),
          ]),
        ),
      ),
    ),
  );
}
