// Side by side: two conditions by measures and items, or two episodes turn by turn.

import { chip, h, link, replace, section, select } from "./dom.js";
import { change, count, number, plural, words } from "./format.js";
import { get, pages } from "./data.js";
import { dumbbells, forest } from "./charts.js";
import { go, to } from "./router.js";
import { episodeAddress } from "./episodes.js";
import { settled } from "./grid.js";
import { outcomeChip } from "./marks.js";
import { episodeOf } from "./page_episode.js";
import { runOf } from "./page_study.js";
import { problem, titled } from "./shell.js";
import { aligned, pairRow } from "./sidebyside.js";
import { turnKey } from "./transcript.js";

/** The page. */
export async function comparePage(context) {
  const { run: id, query } = context;
  const run = await runOf(id);
  const first =
    query.first ?? run.conditions.find((c) => c.baseline && !c.control)?.id ?? run.conditions[0]?.id;
  const second =
    query.second ??
    run.conditions.find((c) => c.id === first)?.baseline ??
    run.conditions.find((c) => c.id !== first)?.id;
  const frame = { title: "Side by side", run: id, tab: "compare", badges: run.badges, up: to(["run", id]) };
  if (!second)
    return {
      ...frame,
      crumbs: [
        [run.run.name, to(["run", id])],
        ["Side by side", null],
      ],
      content: h("p", { class: "empty" }, "A run with one condition has nothing to compare."),
    };
  const episodes = query.a !== undefined && query.b !== undefined;
  const item = query.item !== undefined && !episodes;
  const conditions = to(["run", id, "compare"], { first, second, measure: query.measure });
  const content = item
    ? await itemView(run, first, second, query)
    : episodes
      ? await episodesView(run, first, second, query)
      : await conditionsView(run, first, second, query);
  return {
    ...frame,
    up: episodes || item ? conditions : frame.up,
    crumbs: [
      [run.run.name, to(["run", id])],
      ["Side by side", episodes || item ? conditions : null],
      ...(episodes || item ? [[query.item ?? "two episodes", null]] : []),
    ],
    content,
    keysTitle: "Side by side",
    keys: [
      {
        keys: "s",
        does: "swap the two sides",
        run: () =>
          go(to(["run", id, "compare"], { ...query, first: second, second: first, a: query.b, b: query.a })),
      },
    ],
  };
}

function pickers(run, first, second, query) {
  const options = run.conditions.map((c) => [c.id, c.label]);
  const at = (changes) =>
    go(to(["run", run.run.id, "compare"], { first, second, measure: query.measure, ...changes }));
  return [
    select("First", options, first, (v) => at({ first: v })),
    select("Second", options, second, (v) => at({ second: v })),
  ];
}

function labelOf(run, id) {
  return run.conditions.find((c) => c.id === id)?.label ?? id;
}

async function conditionsView(run, first, second, query) {
  const id = run.run.id;
  const names = [labelOf(run, first), labelOf(run, second)];
  const head = titled(
    "Side by side",
    `${names[0]} against ${names[1]}, paired by item, student and replicate.`,
    [
      link(to(["run", id, "lesson", first, 0]), {}, `Lessons of ${names[0]}`),
      link(to(["run", id, "lesson", second, 0]), {}, `Lessons of ${names[1]}`),
    ],
    ...pickers(run, first, second, query),
  );
  let page;
  try {
    page = await get(`runs/${id}/compare/conditions`, { first, second });
  } catch (error) {
    return [head, problem(error, "These two cannot be compared")];
  }
  const { comparison, items } = page;
  const facts = (await get(`runs/${id}/report`)).report.measures;
  const verdicts = Object.values(comparison.measures).map((m) => h("li", {}, m.verdict.replaceAll("`", "")));
  return [
    head,
    comparison.warnings.map((text) => h("p", { class: "notice" }, text)),
    h(
      "div",
      { class: "columns block" },
      h("div", { class: "charts" }, forests(run, comparison.measures, facts)),
      itemsView(run, first, second, names, items, query, facts),
    ),
    section("In words", { class: "block" }, h("ul", { class: "findings" }, verdicts)),
  ];
}

/** One plot for what lies between 0 and 1, and one for the rest. */
function forests(run, measures, facts) {
  const rows = Object.entries(measures).map(([name, m]) => ({
    label: name,
    ...m.difference,
    verdict: settled(m.difference, facts[name]?.better)[0],
    note: m.verdict,
  }));
  const bounded = (row) =>
    ["probability", "share", "difference", "correlation"].includes(facts[row.label]?.scale);
  const plot = (shown, what, name) =>
    shown.length
      ? forest({
          title: `Paired differences, ${what}`,
          note: "First minus second, with 95 % intervals. Hollow: inconclusive. Filled: settled, with ✓ for better, ✗ for worse.",
          name: `${run.run.name}-forest-${name}`,
          rows: shown,
          left: "second is higher",
          right: "first is higher",
        })
      : null;
  return [
    plot(rows.filter(bounded), "measures from 0 to 1", "shares"),
    plot(
      rows.filter((row) => !bounded(row)),
      "counts and other scales",
      "counts",
    ),
  ];
}

function itemsView(run, first, second, names, items, query, facts) {
  const named = (measure) => items[measure].filter((p) => p.item);
  const known = Object.keys(items).filter((name) => named(name).length);
  if (!known.length) return h("p", { class: "empty" }, "No item has a value in both conditions.");
  const holder = h("div");
  const draw = (measure) => {
    const all = named(measure);
    const shown = all.slice(0, 40);
    replace(
      holder,
      h(
        "div",
        { class: "toolbar" },
        select(
          "Items by",
          known.map((n) => [n, n]),
          measure,
          (v) => go(to(["run", run.run.id, "compare"], { first, second, measure: v })),
        ),
      ),
      dumbbells({
        title: `${measure}, item by item`,
        note: `${shown.length < all.length ? `The ${shown.length} largest differences of ${all.length} items. ` : "The largest difference first. "}Each opens the two episodes.`,
        name: `${run.run.name}-${measure}-items`,
        names,
        unit: ["probability", "share"].includes(facts[measure]?.scale),
        rows: shown.map((p) => ({
          label: `${p.phase === "" ? "" : `${words(p.phase)} `}${p.item}`,
          a: p.first,
          b: p.second,
          title: plural(p.n, "pair"),
          href: to(["run", run.run.id, "compare"], {
            first,
            second,
            measure,
            item: p.item,
            phase: p.phase,
            replicate: query.replicate ?? run.replicates[0] ?? 0,
          }),
        })),
      }),
    );
  };
  draw(known.includes(query.measure) ? query.measure : known[0]);
  return holder;
}

/** The episodes of one item in both conditions: finds them, and shows the first pair. */
async function itemView(run, first, second, query) {
  const [a, b] = await Promise.all(
    [first, second].map(async (condition) => {
      for await (const page of pages(`runs/${run.run.id}/lessons/${condition}/${query.replicate}/episodes`, {
        limit: 1000,
      })) {
        const found =
          page.episodes.find((e) => e.item === query.item && (!query.phase || e.phase === query.phase)) ??
          page.episodes.find((e) => e.phase === query.phase && !e.item);
        if (found) return found.ordinal;
      }
      return null;
    }),
  );
  if (a === null || b === null)
    return [
      titled("Side by side", null),
      h(
        "p",
        { class: "empty" },
        `Item ${query.item} has no episode of its own in replicate ${Number(query.replicate) + 1} of ${labelOf(run, a === null ? first : second)}: exams ask several items in one episode.`,
      ),
    ];
  return episodesView(run, first, second, { ...query, a, b });
}

async function episodesView(run, first, second, query) {
  const id = run.run.id;
  const replicate = query.replicate ?? 0;
  const both = await Promise.all([
    episodeOf(id, { condition: first, replicate, ordinal: query.a }),
    episodeOf(id, { condition: second, replicate, ordinal: query.b }),
  ]);
  const address = both.map(
    ({ page }) =>
      (step) =>
        episodeAddress(id, page.row, { turn: step ? turnKey(step) : null }),
  );
  const view = { roles: both.map((e) => e.page.roles), flags: both.map((e) => e.flags), address };
  const pairs = aligned(both[0].all, both[1].all);
  const item = both[0].page.item;
  return [
    titled(
      item.question || `${words(both[0].page.row.phase)} ${both[0].page.row.item}`,
      "The same item, student and replicate in two conditions, aligned act by act.",
      [
        item.answer ? h("span", {}, "answer ", h("b", {}, item.answer)) : null,
        h("span", {}, `replicate ${Number(replicate) + 1}`),
        h("span", {}, h("del", {}, "only in the first"), " ", h("ins", {}, "only in the second")),
      ],
      replicatePicker(run, first, second, query, both),
    ),
    h(
      "div",
      { class: "pair-head" },
      both.map((e, i) => sideCard(e, i, address[i](null))),
    ),
    h("p", { class: "soft small" }, summary(both)),
    h(
      "div",
      { class: "aligned", role: "list", "aria-label": "Aligned turns" },
      pairs.map((pair, i) =>
        pairRow(
          pair,
          view,
          i,
          pairs.slice(0, i).findLast(([a, b]) => a && b),
        ),
      ),
    ),
  ];
}

function replicatePicker(run, first, second, query, [{ page }]) {
  if (run.replicates.length < 2) return null;
  return select(
    "Replicate",
    run.replicates.map((r) => [String(r), String(r + 1)]),
    String(query.replicate ?? 0),
    (r) =>
      go(
        to(["run", run.run.id, "compare"], {
          first,
          second,
          measure: query.measure,
          item: page.row.item,
          phase: page.row.phase,
          replicate: r,
        }),
      ),
  );
}

function sideCard({ page }, i, href) {
  const { row } = page;
  return h(
    "div",
    { class: `card ${i ? "second" : "first"}` },
    h(
      "div",
      { class: "row" },
      link(href, { "data-row": true, "data-focus": `side-${i}` }, h("strong", {}, page.label)),
      page.control ? chip("plain", "○", "control") : null,
    ),
    h(
      "div",
      { class: "marks" },
      outcomeChip(row.outcome, row.failure, row.detail),
      row.right === null
        ? null
        : chip(
            row.right ? "good" : "bad",
            row.right ? "✓" : "✗",
            row.right ? "right in the end" : "wrong in the end",
          ),
      row.leak ? chip("leak", "⚑", row.leak > 1 ? `${row.leak} leaks` : "leak") : null,
      row.vetoes ? chip("warn", "⊘", plural(row.vetoes, "veto", "vetoes")) : null,
    ),
    h(
      "div",
      { class: "small soft tabular" },
      [
        `${count(row.tokens)} tokens`,
        ...Object.entries(row.spent).map(([unit, n]) => `${words(unit)} ${n}`),
        row.brier === null ? null : `Brier ${number(row.brier, 3)}`,
      ]
        .filter(Boolean)
        .join(" · "),
    ),
  );
}

function summary([{ page: a }, { page: b }]) {
  const units = [...new Set([...Object.keys(a.row.spent), ...Object.keys(b.row.spent)])];
  const score = (row) => (row.right === null ? "?" : row.right ? "✓" : "✗");
  return [
    "Second minus first: ",
    h("b", {}, `${change(b.row.tokens - a.row.tokens)} tokens`),
    units.map((unit) => [
      ", ",
      h("b", {}, change((b.row.spent[unit] ?? 0) - (a.row.spent[unit] ?? 0))),
      ` ${words(unit)} spent`,
    ]),
    `; score ${score(a.row)} → ${score(b.row)}.`,
  ];
}
