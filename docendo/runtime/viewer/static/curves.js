// The curves of a study: measures over budgets and phases, and calibration.

import { h, replace, section, segmented, select } from "./dom.js";
import { tail, words } from "./format.js";
import { calibrationChart, lineChart } from "./charts.js";
import { amend, to } from "./router.js";

/** The charts below the grid. */
export function curves(study, query) {
  const parts = [budget(study, query), learning(study, query), calibration(study, query)].filter(Boolean);
  return parts.length ? section("Curves", { class: "block" }, h("div", { class: "charts" }, parts)) : null;
}

function chooser(label, names, chosen, draw, key) {
  const holder = h("div");
  const show = (name) =>
    replace(
      holder,
      names.length > 1
        ? h(
            "div",
            { class: "toolbar" },
            names.length > 5
              ? select(
                  label,
                  names.map((n) => [n, n]),
                  name,
                  pick,
                )
              : segmented(
                  label,
                  names.map((n) => [n, n]),
                  name,
                  pick,
                ),
          )
        : null,
      draw(name),
    );
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
  const names = [...new Set(report.curves.map((c) => c.measure))].filter((name) =>
    report.curves.some(
      (c) =>
        c.measure === name && c.points.some((p) => condition.get(p.condition)?.measures[name]?.mean !== null),
    ),
  );
  const draw = (name) => {
    const mine = report.curves.filter((c) => c.measure === name);
    const axes = [...new Set(mine.map((c) => c.axis))];
    return axes.map((axis) => {
      const percent = report.conditions.some((c) => String(c.coordinates[axis] ?? "").endsWith("%"));
      const lines = mine
        .filter((c) => c.axis === axis)
        .map((curve) => ({
          label:
            Object.values(curve.held)
              .map((v) => words(String(v)))
              .join(", ") || "as written",
          points: curve.points
            .map((p) => ({
              x: p.x,
              ...condition.get(p.condition).measures[name],
              href: to(["run", report.run.id, "lesson", p.condition, 0]),
            }))
            .filter((p) => p.mean !== null),
        }))
        .filter((l) => l.points.length);
      const levels = report.conditions
        .filter(
          (c) => c.control && !(axis in c.coordinates) && c.measures[name]?.mean !== null && c.measures[name],
        )
        .map((c) => ({ label: c.label, ...c.measures[name] }));
      return lineChart({
        title: `${name} over ${words(tail(axis))}`,
        note: `${report.measures[name].description} 95 % intervals by item and student.`,
        name: `${report.run.name}-${name}-${tail(axis)}`,
        lines,
        levels,
        xLabel: axis,
        yLabel: name,
        xFormat: percent ? (v) => `${Math.round(v * 100)}%` : String,
        unit: ["probability", "share"].includes(report.measures[name].scale),
      });
    });
  };
  return names.length
    ? h("div", { id: "budget-curve" }, chooser("Budget curve of", names, query.curve, draw, "curve"))
    : null;
}

function learning({ report, learning: found, run }, query) {
  const condition = new Map(report.conditions.map((c) => [c.id, c]));
  const names = [...new Set(found.map((l) => l.measure))].filter((name) =>
    found.some((l) => l.measure === name && l.points.filter((p) => p.mean !== null).length > 1),
  );
  const order = run.phases.map((p) => p.id);
  const draw = (name) => {
    const mine = found.filter((l) => l.measure === name && l.points.some((p) => p.mean !== null));
    const places = order.filter((phase) => mine.some((l) => l.points.some((p) => p.phase === phase)));
    const ordered = [...mine].sort(
      (a, b) => Boolean(condition.get(a.condition)?.control) - Boolean(condition.get(b.condition)?.control),
    );
    const lines = ordered.map((l) => ({
      control: Boolean(condition.get(l.condition)?.control),
      label: condition.get(l.condition)?.label ?? l.condition,
      points: l.points
        .filter((p) => p.mean !== null && places.includes(p.phase))
        .map((p) => ({
          ...p,
          x: places.indexOf(p.phase),
          href: to(["run", report.run.id, "lesson", l.condition, 0], { phase: p.phase }),
        })),
    }));
    return lineChart({
      title: `${words(name)} over the phases`,
      note: "In the order of the plan; 95 % intervals. Grey: controls.",
      name: `${report.run.name}-${name}-phases`,
      places: places.map(words),
      lines,
      xLabel: "phase",
      yLabel: words(name),
      unit: ["probability", "share", undefined].includes(report.measures[name]?.scale),
    });
  };
  return names.length
    ? h("div", { id: "learning-curve" }, chooser("Learning curve of", names, query.learn, draw, "learn"))
    : null;
}

function calibration({ report, calibration: found }, query) {
  const condition = new Map(report.conditions.map((c) => [c.id, c]));
  const known = (found?.curves ?? []).filter((c) => c.bins.length);
  const agents = [...new Set(known.map((c) => `${c.agent}, ${c.help}`))];
  const draw = (name) =>
    calibrationChart({
      title: `Calibration of ${name}`,
      note: `How often the student was right where it was believed with probability p (${name.endsWith("helped") ? "after help" : "without help"}). On the diagonal: as often as believed. Larger marks: more answers.`,
      name: `${report.run.name}-calibration`,
      lines: known
        .filter((c) => `${c.agent}, ${c.help}` === name)
        .slice(0, 8)
        .map((c) => ({ ...c, label: condition.get(c.condition)?.label ?? c.condition })),
    });
  return agents.length
    ? h(
        "div",
        { id: "calibration" },
        chooser("Calibration of", agents, query.calibration, draw, "calibration"),
      )
    : null;
}
