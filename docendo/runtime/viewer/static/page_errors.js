// Errors and missing values: by cause, with the first traceback, where they are, and the command that retries.

import { button, chip, copy, h, link, scroller, section, table } from "./dom.js";
import { count, plural, words } from "./format.js";
import { get } from "./data.js";
import { to } from "./router.js";
import { episodeAddress } from "./episodes.js";
import { runOf } from "./page_study.js";
import { titled } from "./shell.js";

const BOUNDARIES = {
  model: "a model did not answer",
  timeout: "too slow",
  parse: "output that did not fit",
  budget: "a budget",
  context: "a prompt too long",
  replay: "a replay that differs",
  crash: "a mistake in the program",
};

/** The page. */
export async function errorsPage({ run: id }) {
  const [run, page] = await Promise.all([runOf(id), get(`runs/${id}/problems`)]);
  const crumbs = [
    [run.run.name, to(["run", id])],
    ["Errors and missing", null],
  ];
  const block = { class: "block" };
  return {
    title: "Errors and missing",
    run: id,
    tab: "errors",
    badges: run.badges,
    up: to(["run", id]),
    crumbs,
    content: [
      summary(page),
      page.warnings.map((text) =>
        h("p", { class: "notice" }, h("span", { "aria-hidden": "true" }, "!"), text),
      ),
      page.retry ? section("To run the failed lessons again", block, command(page.retry)) : null,
      page.resume ? section("To go on with the run", block, command(page.resume)) : null,
      page.failures.length
        ? section(
            "Failures by cause",
            block,
            page.failures.map((f) => cause(id, f)),
          )
        : null,
      page.missing.length ? missingValues(run, page.missing) : null,
    ],
  };
}

function summary({ failures, missing, unfinished }) {
  const failed = failures.reduce((n, f) => n + f.n, 0);
  const values = missing.reduce((n, m) => n + m.n, 0);
  const clean = !failed && !values && !unfinished;
  const fact = (n, kind, mark, noun, what) =>
    chip(n ? kind : "good", n ? mark : "✓", `${plural(n, noun)} ${what}`);
  return titled(
    "Errors and missing",
    clean ? "Nothing failed, nothing is missing, and every planned lesson is finished." : null,
    [
      fact(failed, "bad", "✗", "episode", "failed"),
      fact(values, "warn", "?", "value", "missing"),
      fact(unfinished, "warn", "‖", "lesson", "unfinished"),
    ],
  );
}

function missingValues(run, missing) {
  const label = new Map(run.conditions.map((c) => [c.id, c.label]));
  const columns = [
    { title: "measure" },
    { title: "reason" },
    { title: "values", number: true },
    { title: "conditions" },
  ];
  const rows = missing.map((m) => [m.measure, m.reason, count(m.n), where(run.run.id, m.conditions, label)]);
  return section(
    "Missing values by reason",
    { class: "block" },
    h("p", { class: "lead" }, "What could not be measured is missing, never a score."),
    scroller("Missing values", table(null, columns, rows, { class: "list" })),
  );
}

function command(text) {
  return h(
    "div",
    { class: "command" },
    h("code", {}, text),
    button("Copy", () => copy(text, "the command")),
  );
}

function where(run, conditions, label) {
  return h(
    "span",
    { class: "cells" },
    Object.entries(conditions).map(([id, n]) =>
      link(
        to(["run", run, "lesson", id, 0]),
        { class: "chip", "data-row": true, "data-focus": `missing-${id}` },
        `${label.get(id) ?? id} · ${count(n)}`,
      ),
    ),
  );
}

function cause(run, failure) {
  return h(
    "article",
    { class: "card cause" },
    h(
      "div",
      { class: "head" },
      h("span", { class: "count" }, count(failure.n)),
      chip("bad", "✗", failure.failure, BOUNDARIES[failure.failure]),
      h("strong", {}, failure.message),
    ),
    failure.detail
      ? h(
          "details",
          { open: failure.detail.length < 600 },
          h("summary", {}, "What was recorded with the first one"),
          h("pre", { tabindex: "0" }, failure.detail),
        )
      : null,
    h(
      "div",
      {},
      h(
        "p",
        { class: "small soft" },
        failure.n > failure.cells.length ? `The first ${failure.cells.length} places:` : "Places:",
      ),
      h(
        "div",
        { class: "cells" },
        failure.cells.map((cell) =>
          link(
            episodeAddress(run, cell, { turn: cell.turn }),
            {
              class: "chip",
              "data-row": true,
              "data-focus": `cell-${cell.condition}-${cell.replicate}-${cell.ordinal}`,
              title: `${cell.agent} ${cell.act}, turn ${cell.turn}`,
            },
            `${cell.label}, replicate ${cell.replicate + 1}: ${words(cell.phase)} ${cell.item}`,
          ),
        ),
      ),
    ),
  );
}
