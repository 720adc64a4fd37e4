// The study page: conditions against measures, the curves, and what follows from them.

import { h, button, chip, link, replace, section, segmented, select } from "./dom.js";
import { count, interval, number, plural, signed, tail, words } from "./format.js";
import { around, linear } from "./chart.js";
import { calibrationChart, dotCell, lineChart, sparkline } from "./charts.js";
import { amend, to } from "./router.js";

const SETTLED = { higher: "▲", lower: "▼" };

/** The plan as a strip of phases. `phases`: [{phase, kind, ...}]; `text(phase)`: its second line; `href(phase)`. */
export function planStrip(phases, { text = () => "", href = () => null, chosen = null } = {}) {
  return h("ol", { class: "plan", "aria-label": "The plan" }, phases.map((phase) => {
    const inner = [h("strong", {}, phase.phase), h("span", { class: "soft" }, text(phase) || phase.kind)];
    const looks = { class: `step ${phase.kind} ${phase.phase === chosen ? "chosen" : ""}`, title: phase.kind };
    const address = href(phase);
    return h("li", {}, address ? link(address, { ...looks, "aria-current": phase.phase === chosen ? "true" : null }, inner) : h("span", looks, inner));
  }));
}

/** What the grid needs of each measure: its scale in the cells, and which way is better. */
function columnsOf(report) {
  return Object.entries(report.measures).map(([name, facts]) => {
    const values = report.conditions.map((c) => c.measures[name]).filter(Boolean);
    const domain = around(values.flatMap((m) => [m.mean, m.low, m.high]), { unit: facts.scale === "probability" || facts.scale === "share" });
    return { name, ...facts, domain, x: linear(domain, [0, 92]) };
  }).filter((c) => report.conditions.some((condition) => condition.measures[c.name]));
}

/** The grid of conditions and measures. */
export function grid(study, query) {
  const { report } = study;
  const columns = columnsOf(report);
  const state = { sort: query.sort ?? "", down: query.down === "1", filter: query.filter ?? "", controls: query.controls !== "0", heat: query.heat !== "0" };
  const head = h("thead");
  const body = h("tbody");
  const known = h("span", { class: "soft small", role: "status" });
  const baselines = new Set(report.conditions.flatMap((c) => Object.values(c.measures).map((m) => m.difference?.to)));
  const draw = () => {
    const shown = arranged(report.conditions, state);
    replace(head, headRow(columns, state, (name) => {
      state.down = state.sort === name ? !state.down : true;
      state.sort = name;
      keep();
    }));
    replace(body, shown.map((condition) => gridRow(condition, columns, study, state, baselines)));
    replace(known, shown.length === report.conditions.length ? plural(shown.length, "condition") : `${shown.length} of ${report.conditions.length} conditions`);
  };
  const keep = () => {
    amend({ sort: state.sort, down: state.down ? "1" : "", filter: state.filter, controls: state.controls ? "" : "0", heat: state.heat ? "" : "0" });
    draw();
  };
  const search = h("input", { type: "search", value: state.filter, placeholder: "policy, control, 20% …", "aria-label": "Filter the conditions", "data-find": true, on: { input: () => ((state.filter = search.value), keep()) } });
  draw();
  return [
    h("div", { class: "toolbar" }, search, tick("Controls", state.controls, (on) => ((state.controls = on), keep())), tick("Heat", state.heat, (on) => ((state.heat = on), keep())),
      h("span", { class: "heat-legend" }, "worse than the baseline", h("span", { class: "ramp", "aria-hidden": "true" }), "better"), h("span", { class: "spacer" }), known),
    h("div", { class: "grid-scroller", tabindex: "0", role: "region", "aria-label": "Conditions and measures" }, h("table", { class: "grid" }, head, body)),
  ];
}

/** A labelled tick box. */
export function tick(text, on, change) {
  const box = h("input", { type: "checkbox", checked: on, on: { change: () => change(box.checked) } });
  return h("label", { class: "check" }, box, text);
}

function arranged(conditions, { sort, down, filter, controls }) {
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = conditions.filter((c) => (controls || !c.control) && wanted.every((w) => c.label.toLowerCase().includes(w)));
  if (!sort) return shown;
  const value = (c) => (sort === "condition" ? c.label : sort === "episodes" ? c.n.ran : (c.measures[sort]?.mean ?? null));
  return [...shown].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  });
}

function headRow(columns, state, sortBy) {
  const sorter = (name, text) => ({
    "aria-sort": state.sort === name ? (state.down ? "descending" : "ascending") : null,
    inner: button([text, state.sort === name ? (state.down ? " ↓" : " ↑") : ""], () => sortBy(name), { title: `Sort by ${text}` }),
  });
  const cell = (name, text, ...more) => {
    const { inner, ...attributes } = sorter(name, text);
    return h("th", { scope: "col", ...attributes }, inner, more);
  };
  return h("tr", {}, cell("condition", "condition"), cell("episodes", "episodes"), columns.map((c) => cell(c.name, c.name,
    h("span", { class: "better", title: c.description }, c.better === "high" ? "higher is better" : c.better === "low" ? "lower is better" : "neither way is better"),
    h("span", { class: "scale", "aria-hidden": "true" }, h("span", {}, number(c.domain[0], 1)), h("span", {}, number(c.domain[1], 1))))));
}

function gridRow(condition, columns, study, state, baselines) {
  const run = study.report.run.id;
  return h("tr", { class: `${condition.control ? "control" : ""} ${baselines.has(condition.id) ? "baseline" : ""}` },
    h("th", { scope: "row" }, link(to(["run", run, "lesson", condition.id, 0]), { "data-row": true, "data-focus": `condition-${condition.id}` }, condition.label),
      baselines.has(condition.id) ? [" ", chip("info", "◆", "baseline")] : null),
    h("td", { class: "counts" }, countsCell(condition.n)),
    columns.map((column) => measureCell(condition, column, study, state)));
}

/** Planned, ran, errored and missing as a bar and in figures. */
export function countsCell({ planned, ran, errored, missing }) {
  const share = (n) => ({ width: `${(100 * n) / Math.max(1, planned)}%` });
  return [h("div", { class: "counts-bar", "aria-hidden": "true" }, h("span", { class: "ran", style: share(Math.max(0, ran - missing)) }), h("span", { class: "errored", style: share(errored) }), h("span", { class: "missing", style: share(missing) })),
    h("div", { class: "counts-text", title: "planned, ran, errored, missing" }, `${count(ran)} of ${count(planned)} ran`,
      errored ? h("span", { class: "bad" }, `, ${count(errored)} errored`) : null, missing ? h("span", { class: "bad" }, `, ${count(missing)} missing`) : null)];
}

function measureCell(condition, column, study, state) {
  const m = condition.measures[column.name];
  if (!m || m.mean === null) return h("td", { class: "soft" }, m?.missing ? `– (${m.missing} missing)` : "–");
  const other = study.report.conditions.find((c) => c.id === m.difference?.to);
  const base = other?.measures[column.name]?.mean ?? null;
  const heat = state.heat && !condition.control ? heatOf(m.mean, base, column) : null;
  return h("td", { class: heat ? "heat" : null, style: heat ?? {} },
    h("div", { class: "figure" }, h("b", {}, number(m.mean)), h("span", { class: "soft" }, interval(m.low, m.high)), sparkline(study.replicates?.[column.name]?.[condition.id] ?? [], column.x)),
    dotCell(column.x, { ...m, base }),
    m.difference && m.difference.mean !== null ? differenceText(condition, m.difference, column, study) : null,
    m.missing ? h("span", { class: "difference bad" }, `${m.missing} missing`) : null);
}

function heatOf(mean, base, { better, domain }) {
  if (base === null || (better !== "high" && better !== "low")) return null;
  const span = Math.max(Math.abs(domain[0] - base), Math.abs(domain[1] - base)) || 1;
  const share = ((mean - base) / span) * (better === "high" ? 1 : -1);
  return { "--heat-color": `var(--heat-${share >= 0 ? "high" : "low"})`, "--heat": (Math.min(1, Math.abs(share)) * 0.3).toFixed(3) };
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
  return link(to(["run", report.run.id, "compare"], { first: condition.id, second: d.to, measure: column.name }), { class: `difference ${kind}`, title, "data-focus": `difference-${condition.id}-${column.name}` },
    sign ? `${sign} ` : "Δ ", signed(d.mean), ` ${interval(d.low, d.high)}`);
}

/** The charts below the grid. */
export function curves(study, query) {
  const parts = [budget(study, query), learning(study, query), calibration(study, query)].filter(Boolean);
  return parts.length ? section("Curves", { class: "block" }, h("div", { class: "charts" }, parts)) : null;
}

function chooser(label, names, chosen, draw, key) {
  const holder = h("div");
  const show = (name) => replace(holder, names.length > 1 ? h("div", { class: "toolbar" }, names.length > 5 ? select(label, names.map((n) => [n, n]), name, pick) : segmented(label, names.map((n) => [n, n]), name, pick)) : null, draw(name));
  const pick = (name) => {
    amend({ [key]: name });
    show(name);
  };
  show(names.includes(chosen) ? chosen : names[0]);
  return holder;
}

function budget({ report }, query) {
  if (!report.curves.length) return null;
  const condition = new Map(report.conditions.map((c) => [c.id, c]));
  const names = [...new Set(report.curves.map((c) => c.measure))].filter((name) => report.curves.some((c) => c.measure === name && c.points.some((p) => condition.get(p.condition)?.measures[name]?.mean !== null)));
  const draw = (name) => {
    const mine = report.curves.filter((c) => c.measure === name);
    const axes = [...new Set(mine.map((c) => c.axis))];
    return axes.map((axis) => {
      const percent = report.conditions.some((c) => String(c.coordinates[axis] ?? "").endsWith("%"));
      const lines = mine.filter((c) => c.axis === axis).map((curve) => ({
        label: Object.values(curve.held).map((v) => words(String(v))).join(", ") || "as written",
        points: curve.points.map((p) => ({ x: p.x, ...condition.get(p.condition).measures[name], href: to(["run", report.run.id, "lesson", p.condition, 0]) })).filter((p) => p.mean !== null),
      })).filter((l) => l.points.length);
      const levels = report.conditions.filter((c) => c.control && !(axis in c.coordinates) && c.measures[name]?.mean !== null && c.measures[name]).map((c) => ({ label: c.label, ...c.measures[name] }));
      return lineChart({ title: `${name} over ${words(tail(axis))}`, note: `${report.measures[name].description} 95 % intervals by item and student.`, name: `${report.run.name}-${name}-${tail(axis)}`, lines, levels,
        xLabel: axis, yLabel: name, xFormat: percent ? (v) => `${Math.round(v * 100)}%` : String, unit: ["probability", "share"].includes(report.measures[name].scale) });
    });
  };
  return names.length ? h("div", { id: "budget-curve" }, chooser("Budget curve of", names, query.curve, draw, "curve")) : null;
}

function learning({ report, learning: found, run }, query) {
  const condition = new Map(report.conditions.map((c) => [c.id, c]));
  const names = [...new Set(found.map((l) => l.measure))].filter((name) => found.some((l) => l.measure === name && l.points.filter((p) => p.mean !== null).length > 1));
  const order = run.phases.map((p) => p.id);
  const draw = (name) => {
    const mine = found.filter((l) => l.measure === name && l.points.some((p) => p.mean !== null));
    const places = order.filter((phase) => mine.some((l) => l.points.some((p) => p.phase === phase)));
    const ordered = [...mine].sort((a, b) => Boolean(condition.get(a.condition)?.control) - Boolean(condition.get(b.condition)?.control));
    const lines = ordered.map((l) => ({ control: Boolean(condition.get(l.condition)?.control), label: condition.get(l.condition)?.label ?? l.condition, points: l.points.filter((p) => p.mean !== null && places.includes(p.phase)).map((p) => ({ ...p, x: places.indexOf(p.phase), href: to(["run", report.run.id, "lesson", l.condition, 0], { phase: p.phase }) })) }));
    return lineChart({ title: `${words(name)} over the phases`, note: "In the order of the plan; 95 % intervals. Grey: controls.", name: `${report.run.name}-${name}-phases`, places: places.map(words), lines, xLabel: "phase", yLabel: words(name), unit: ["probability", "share", undefined].includes(report.measures[name]?.scale) });
  };
  return names.length ? h("div", { id: "learning-curve" }, chooser("Learning curve of", names, query.learn, draw, "learn")) : null;
}

function calibration({ report, calibration: found }, query) {
  const condition = new Map(report.conditions.map((c) => [c.id, c]));
  const known = (found?.curves ?? []).filter((c) => c.bins.length);
  const agents = [...new Set(known.map((c) => `${c.agent}, ${c.help}`))];
  const draw = (name) => calibrationChart({ title: `Calibration of ${name}`, note: `How often the student was right where it was believed with probability p (${name.endsWith("helped") ? "after help" : "without help"}). On the diagonal: as often as believed. Larger marks: more answers.`, name: `${report.run.name}-calibration`,
    lines: known.filter((c) => `${c.agent}, ${c.help}` === name).slice(0, 8).map((c) => ({ ...c, label: condition.get(c.condition)?.label ?? c.condition })) });
  return agents.length ? h("div", { id: "calibration" }, chooser("Calibration of", agents, query.calibration, draw, "calibration")) : null;
}

const FIRST = 4;

function list(sentences) {
  return h("ul", { class: "findings" }, sentences.map((text) => h("li", {}, text.replaceAll("`", ""))));
}

/** The key findings, the fidelity of the students, and the warnings. */
export function findings({ report }) {
  return [
    report.warnings.map((text) => h("p", { class: "notice" }, h("span", { "aria-hidden": "true" }, "!"), text)),
    report.findings.length ? section("Key findings", { class: "block" }, list(report.findings.slice(0, FIRST)), report.findings.length > FIRST ? h("details", {}, h("summary", {}, plural(report.findings.length - FIRST, "more finding")), list(report.findings.slice(FIRST))) : null) : null,
    report.fidelity.length ? section("Are the students as they should be?", { class: "block" }, h("div", { class: "row" }, report.fidelity.map((f) => chip(f.limit === null ? "plain" : f.holds ? "good" : "bad", f.limit === null ? "·" : f.holds ? "✓" : "✗",
      `${words(f.measure)} ${number(f.mean)}${f.limit === null ? "" : ` (${f.at_least ? "at least" : "at most"} ${f.limit})`}`, `${plural(f.n, "answer")} before anybody taught them`)))) : null,
  ];
}
