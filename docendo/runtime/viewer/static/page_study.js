// The study page of a run.

import { button, copy, h, link, replace, section } from "./dom.js";
import { brief, count, plural, words } from "./format.js";
import { get } from "./data.js";
import { here, to } from "./router.js";
import { curves } from "./curves.js";
import { grid } from "./grid.js";
import { statusChip } from "./page_store.js";
import { problem, titled } from "./shell.js";
import { findings, planStrip } from "./study.js";

/** What every page of a run shares: its facts and the badges of its tabs. */
export async function runOf(id) {
  const page = await get(`runs/${id}`);
  const failed = page.conditions.reduce((n, c) => n + c.failed, 0);
  return {
    ...page,
    badges: { errors: failed ? count(failed) : null, live: page.run.status === "running" ? "▸" : null },
  };
}

/** The page: the design at once, the statistics as soon as they are computed. */
export async function studyPage(context) {
  const run = await runOf(context.run);
  const rest = h("div", {}, h("p", { class: "waiting", role: "status" }, "Computing the report …"));
  const filled = fill(rest, run, context);
  if (context.kept) await filled;
  return {
    title: run.run.name,
    run: context.run,
    tab: "study",
    badges: run.badges,
    crumbs: [[run.run.name, null]],
    content: [
      head(run),
      planStrip(
        run.phases.map((p) => ({ phase: p.id, kind: p.kind })),
        {
          text: (p) =>
            about(
              run,
              run.phases.find((q) => q.id === p.phase),
            ),
        },
      ),
      rest,
    ],
  };
}

async function fill(rest, run, context) {
  try {
    const [report, calibration, tests] = await Promise.all([
      get(`runs/${context.run}/report`),
      ...["calibration", "learning"].map((name) =>
        get(`runs/${context.run}/${name}`).catch(() => ({ curves: [] })),
      ),
    ]);
    if (here() !== context && !rest.isConnected) return;
    const study = { ...report, run, calibration, learning: [...tests.curves, ...report.learning] };
    replace(
      rest,
      findings(study),
      section("Conditions and measures", { class: "block" }, grid(study, context.query)),
      curves(study, context.query),
      origin(run),
    );
  } catch (error) {
    replace(rest, problem(error, "The report cannot be computed"), origin(run));
  }
  rest.dataset.done = "true";
}

/** The values of an axis of the matrix; `null` where the path is none. */
function varied(run, path) {
  const values = run.axes.find((axis) => axis.path === path)?.values;
  if (!values) return null;
  return values.length > 3 ? `${brief(values[0])} … ${brief(values.at(-1))}` : values.map(brief).join(" | ");
}

function about(run, phase) {
  const policies = run.axes.find((axis) => axis.path === `plan.${phase.id}.policy`)?.values.length;
  return [
    phase.kind,
    phase.items,
    policies ? plural(policies, "policy", "policies") : phase.policy ? words(phase.policy) : null,
    phase.rounds > 1 ? plural(phase.rounds, "round") : null,
  ]
    .filter(Boolean)
    .filter((t, i, all) => all.indexOf(t) === i)
    .join(" · ");
}

function head(run) {
  const sum = (key) => run.conditions.reduce((n, c) => n + c[key], 0);
  const budget = Object.entries(run.budget)
    .map(([unit, amount]) => `${words(unit)} ${varied(run, `budget.${unit}`) ?? brief(amount)}`)
    .join(", ");
  return titled(run.run.name, run.run.description, [
    statusChip(run.run.status),
    h(
      "span",
      {},
      h("b", {}, count(run.conditions.length)),
      ` × ${plural(run.replicates.length, "replicate")}`,
    ),
    h("span", {}, h("b", {}, count(sum("episodes"))), " episodes ran"),
    sum("failed")
      ? h(
          "span",
          { class: "wrong" },
          link(to(["run", run.run.id, "errors"]), {}, h("b", {}, count(sum("failed"))), " failed"),
        )
      : null,
    budget ? h("span", {}, `budget: ${budget}`) : null,
  ]);
}

function origin(run) {
  const python = `from docendo.runtime.store import open_store\n\nwith open_store("sqlite:///docendo.db", create=False, readonly=True) as store:\n    run = store.run("${run.run.id}")`;
  return section(
    "Where this comes from",
    { class: "block" },
    h(
      "div",
      { class: "columns" },
      h(
        "div",
        { class: "card" },
        h("h3", {}, "Who takes part"),
        h(
          "dl",
          { class: "pairs" },
          run.agents.map((a) => [
            h("dt", {}, a.count > 1 ? `${a.name} × ${a.count}` : a.name),
            h(
              "dd",
              {},
              `${a.role}, model ${a.model}: ${modelText(run.models.find((m) => m.name === a.model))}`,
            ),
          ]),
        ),
      ),
      h(
        "div",
        { class: "card" },
        h("h3", {}, "Made with"),
        h(
          "dl",
          { class: "pairs" },
          [
            ["run", run.run.id],
            ["scenario", run.scenario_digest.slice(0, 16)],
            ["event streams", run.digest.slice(0, 16)],
            ...Object.entries(run.manifest).filter(([, v]) => typeof v === "string" || typeof v === "number"),
          ].map(([k, v]) => [h("dt", {}, words(k)), h("dd", {}, brief(v))]),
        ),
        run.note ? h("p", { class: "notice" }, run.note) : null,
      ),
    ),
    h("details", {}, h("summary", {}, "The scenario, as written"), h("pre", {}, run.scenario_yaml)),
    h(
      "p",
      { class: "row small" },
      button("Copy Python to load this run", () => copy(python, "Python that loads this run"), {
        class: "quiet",
      }),
    ),
  );
}

function modelText(model) {
  return model ? [model.backend, model.model, model.base_url].filter(Boolean).join(" ") : "unknown";
}
