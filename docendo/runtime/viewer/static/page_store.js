// The store: its runs, or why there is nothing to show.

import { chip, h, link, scroller } from "./dom.js";
import { count, moment } from "./format.js";
import { get } from "./data.js";
import { to } from "./router.js";
import { titled } from "./shell.js";

const STATES = { running: ["info", "▸"], finished: ["good", "✓"], interrupted: ["warn", "‖"] };

/** The status of a run as a chip. */
export function statusChip(status) {
  const [kind, mark] = STATES[status] ?? ["plain", "·"];
  return chip(kind, mark, status);
}

/** The page. */
export async function storePage() {
  const store = await get("store", {}, { fresh: true });
  return {
    title: store.state === "ready" ? "Runs" : "Nothing to show",
    crumbs: [[store.name, null]],
    content:
      store.state === "ready"
        ? [
            titled("Runs", `${store.name}, read by docendo ${store.docendo}`),
            h("section", {}, scroller("Runs", runsTable(store.runs))),
          ]
        : nothing(store),
  };
}

function nothing({ state, name, docendo, problem }) {
  return h(
    "div",
    { class: `problem ${state === "empty" ? "" : "bad"}`, role: state === "empty" ? null : "alert" },
    h(
      "h1",
      { tabindex: "-1" },
      state === "empty" ? "This store holds no runs yet" : "This store cannot be shown",
    ),
    h("p", {}, problem?.message ?? name),
    problem?.suggestion ? h("p", { class: "soft" }, problem.suggestion) : null,
    state === "empty"
      ? [h("p", {}, "A run comes into it so:"), h("pre", {}, "docendo run when-to-step-in")]
      : null,
    h("p", { class: "small soft" }, `Store: ${name}. Read by docendo ${docendo}.`),
  );
}

function runsTable(runs) {
  const titles = ["run", "status", "begun", "conditions", "lessons", "episodes", "failed"];
  return h(
    "table",
    { class: "list runs" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        titles.map((t, i) => h("th", { scope: "col", class: i > 2 ? "number" : null }, t)),
      ),
    ),
    h(
      "tbody",
      {},
      runs.map((run) =>
        h(
          "tr",
          {},
          h(
            "td",
            {},
            link(to(["run", run.id]), { "data-row": true, "data-focus": run.id }, h("strong", {}, run.name)),
            h("div", { class: "small soft" }, run.description || run.id),
          ),
          h(
            "td",
            {},
            statusChip(run.status),
            run.status === "running"
              ? [" ", link(to(["run", run.id, "live"]), { class: "small" }, "live")]
              : null,
          ),
          h("td", { class: "tabular" }, moment(run.created_at)),
          h("td", { class: "number" }, count(run.conditions)),
          h("td", { class: "number" }, `${count(run.lessons_finished)}/${count(run.lessons)}`),
          h("td", { class: "number" }, count(run.episodes)),
          h("td", { class: "number" }, run.failed ? chip("bad", "✗", count(run.failed)) : "0"),
        ),
      ),
    ),
  );
}
