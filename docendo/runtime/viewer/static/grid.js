// The grid of a study: a row per condition, a column per measure.

import { button, chip, h, link, replace } from "./dom.js";
import { count, interval, number, plural, signed } from "./format.js";
import { around, linear } from "./chart.js";
import { dotCell, sparkline } from "./cells.js";
import { amend, to } from "./router.js";

const SETTLED = { higher: "▲", lower: "▼" };

/** What the grid needs of each measure: its scale in the cells, and which way is better. */
function columnsOf(report) {
  return Object.entries(report.measures)
    .map(([name, facts]) => {
      const values = report.conditions.map((c) => c.measures[name]).filter(Boolean);
      const domain = around(
        values.flatMap((m) => [m.mean, m.low, m.high]),
        { unit: facts.scale === "probability" || facts.scale === "share" },
      );
      return { name, ...facts, domain, x: linear(domain, [0, 92]) };
    })
    .filter((c) => report.conditions.some((condition) => condition.measures[c.name]));
}

/** The grid of conditions and measures. */
export function grid(study, query) {
  const { report } = study;
  const columns = columnsOf(report);
  const state = {
    sort: query.sort ?? "",
    down: query.down === "1",
    filter: query.filter ?? "",
    controls: query.controls !== "0",
    heat: query.heat !== "0",
  };
  const [head, body] = [h("thead"), h("tbody")];
  const known = h("span", { class: "soft small", role: "status" });
  const differences = report.conditions.flatMap((c) => Object.values(c.measures).map((m) => m.difference));
  const baselines = new Set(differences.map((d) => d?.to));
  const draw = () => {
    const shown = arranged(report.conditions, state);
    const all = report.conditions.length;
    replace(
      head,
      headRow(columns, state, (name) => change({ down: state.sort !== name || !state.down, sort: name })),
    );
    replace(
      body,
      shown.map((condition) => gridRow(condition, columns, study, state, baselines)),
    );
    replace(known, shown.length === all ? plural(all, "condition") : `${shown.length} of ${all} conditions`);
  };
  const change = (changes) => {
    Object.assign(state, changes);
    const { sort, down, filter, controls, heat } = state;
    amend({ sort, down: down ? "1" : "", filter, controls: controls ? "" : "0", heat: heat ? "" : "0" });
    draw();
  };
  draw();
  return [
    toolbar(state, change, known),
    h(
      "div",
      { class: "grid-scroller", tabindex: "0", role: "region", "aria-label": "Conditions and measures" },
      h("table", { class: "grid" }, head, body),
    ),
  ];
}

function toolbar(state, change, known) {
  const search = h("input", {
    type: "search",
    value: state.filter,
    placeholder: "policy, control, 20% …",
    "aria-label": "Filter the conditions",
    "data-find": true,
    on: { input: () => change({ filter: search.value }) },
  });
  const ramp = h("span", { class: "ramp", "aria-hidden": "true" });
  return h(
    "div",
    { class: "toolbar" },
    search,
    tick("Controls", state.controls, (controls) => change({ controls })),
    tick("Heat", state.heat, (heat) => change({ heat })),
    h("span", { class: "heat-legend" }, "worse than the baseline", ramp, "better"),
    h("span", { class: "spacer" }),
    known,
  );
}

function tick(text, on, change) {
  const box = h("input", { type: "checkbox", checked: on, on: { change: () => change(box.checked) } });
  return h("label", { class: "check" }, box, text);
}

function arranged(conditions, { sort, down, filter, controls }) {
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = conditions.filter(
    (c) => (controls || !c.control) && wanted.every((w) => c.label.toLowerCase().includes(w)),
  );
  if (!sort) return shown;
  const value = (c) =>
    sort === "condition" ? c.label : sort === "episodes" ? c.n.ran : (c.measures[sort]?.mean ?? null);
  return [...shown].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  });
}

function headRow(columns, state, sortBy) {
  const sorter = (name, text) => ({
    "aria-sort": state.sort === name ? (state.down ? "descending" : "ascending") : null,
    inner: button([text, state.sort === name ? (state.down ? " ↓" : " ↑") : ""], () => sortBy(name), {
      title: `Sort by ${text}`,
    }),
  });
  const cell = (name, text, ...more) => {
    const { inner, ...attributes } = sorter(name, text);
    return h("th", { scope: "col", ...attributes }, inner, more);
  };
  return h(
    "tr",
    {},
    cell("condition", "condition"),
    cell("episodes", "episodes"),
    columns.map((c) =>
      cell(
        c.name,
        c.name,
        h(
          "span",
          { class: "better", title: c.description },
          c.better === "high"
            ? "higher is better"
            : c.better === "low"
              ? "lower is better"
              : "neither way is better",
        ),
        h(
          "span",
          { class: "scale", "aria-hidden": "true" },
          h("span", {}, number(c.domain[0], 1)),
          h("span", {}, number(c.domain[1], 1)),
        ),
      ),
    ),
  );
}

function gridRow(condition, columns, study, state, baselines) {
  const run = study.report.run.id;
  return h(
    "tr",
    { class: `${condition.control ? "control" : ""} ${baselines.has(condition.id) ? "baseline" : ""}` },
    h(
      "th",
      { scope: "row" },
      link(
        to(["run", run, "lesson", condition.id, 0]),
        { "data-row": true, "data-focus": `condition-${condition.id}` },
        condition.label,
      ),
      baselines.has(condition.id) ? [" ", chip("info", "◆", "baseline")] : null,
    ),
    h("td", { class: "counts" }, countsCell(condition.n)),
    columns.map((column) => measureCell(condition, column, study, state)),
  );
}

/** Planned, ran, errored and missing as a bar and in figures. */
function countsCell({ planned, ran, errored, missing }) {
  const share = (n) => ({ width: `${(100 * n) / Math.max(1, planned)}%` });
  return [
    h(
      "div",
      { class: "counts-bar", "aria-hidden": "true" },
      h("span", { class: "ran", style: share(Math.max(0, ran - missing)) }),
      h("span", { class: "errored", style: share(errored) }),
      h("span", { class: "missing", style: share(missing) }),
    ),
    h(
      "div",
      { class: "counts-text", title: "planned, ran, errored, missing" },
      `${count(ran)} of ${count(planned)} ran`,
      errored ? h("span", { class: "bad" }, `, ${count(errored)} errored`) : null,
      missing ? h("span", { class: "bad" }, `, ${count(missing)} missing`) : null,
    ),
  ];
}

function measureCell(condition, column, study, state) {
  const m = condition.measures[column.name];
  if (!m || m.mean === null) return h("td", { class: "soft" }, m?.missing ? `– (${m.missing} missing)` : "–");
  const other = study.report.conditions.find((c) => c.id === m.difference?.to);
  const base = other?.measures[column.name]?.mean ?? null;
  const heat = state.heat && !condition.control ? heatOf(m.mean, base, column) : null;
  return h(
    "td",
    { class: heat ? "heat" : null, style: heat ?? {} },
    h(
      "div",
      { class: "figure" },
      h("b", {}, number(m.mean)),
      h("span", { class: "soft" }, interval(m.low, m.high)),
      sparkline(study.replicates?.[column.name]?.[condition.id] ?? [], column.x),
    ),
    dotCell(column.x, { ...m, base }),
    m.difference && m.difference.mean !== null
      ? differenceText(condition, m.difference, column, study)
      : null,
    m.missing ? h("span", { class: "difference bad" }, `${m.missing} missing`) : null,
  );
}

function heatOf(mean, base, { better, domain }) {
  if (base === null || (better !== "high" && better !== "low")) return null;
  const span = Math.max(Math.abs(domain[0] - base), Math.abs(domain[1] - base)) || 1;
  const share = ((mean - base) / span) * (better === "high" ? 1 : -1);
  return {
    "--heat-color": `var(--heat-${share >= 0 ? "high" : "low"})`,
    "--heat": (Math.min(1, Math.abs(share)) * 0.3).toFixed(3),
  };
}

/** Whether a paired difference is settled, and which way: [class, sign, words]. */
export function settled({ conclusion }, better) {
  if (conclusion !== "higher" && conclusion !== "lower") return ["", "", "inconclusive"];
  if (better !== "high" && better !== "low") return ["", SETTLED[conclusion], `settled: ${conclusion}`];
  const good = (conclusion === "higher") === (better === "high");
  return [good ? "good" : "bad", SETTLED[conclusion], good ? "settled: better" : "settled: worse"];
}

function differenceText(condition, d, column, { report }) {
  const [kind, sign, said] = settled(d, column.better);
  const other = report.conditions.find((c) => c.id === d.to);
  const title = `paired difference to ${other?.label ?? d.to}: ${signed(d.mean, 3)} ${interval(d.low, d.high, 3)}, adjusted p ${number(d.p_adjusted, 3)}, ${plural(d.n_pairs, "pair")}; ${said}`;
  return link(
    to(["run", report.run.id, "compare"], { first: condition.id, second: d.to, measure: column.name }),
    { class: `difference ${kind}`, title, "data-focus": `difference-${condition.id}-${column.name}` },
    sign ? `${sign} ` : "Δ ",
    signed(d.mean),
    ` ${interval(d.low, d.high)}`,
  );
}
