// The lesson page: the plan as a strip with its results, and the episodes.

import { button, chip, h, link, replace, section } from "./dom.js";
import { count, duration, plural, words } from "./format.js";
import { get, pages } from "./data.js";
import { go, to } from "./router.js";
import { episodeList } from "./episodes.js";
import { runOf } from "./page_study.js";
import { titled } from "./shell.js";
import { planStrip } from "./study.js";

/** The page. */
export async function lessonPage(context) {
  const { run: id, condition, replicate, query } = context;
  const base = `runs/${id}/lessons/${condition}/${replicate}`;
  const [run, page] = await Promise.all([runOf(id), get(base)]);
  const { lesson } = page;
  const beside = (place) => (place ? to(["run", id, "lesson", ...place]) : null);
  const holder = h("div");
  const strip = h("div");
  const show = (phase) => {
    replace(
      strip,
      planStrip(page.phases, {
        text: result,
        href: (p) =>
          to(["run", id, "lesson", condition, replicate], { phase: p.phase === phase ? null : p.phase }),
        chosen: phase,
      }),
    );
    for (const anchor of strip.querySelectorAll("a")) anchor.dataset.replace = "true";
    const list = episodeList(id, filtered(pages(`${base}/episodes`, { phase }), phase));
    replace(holder, list.element);
    return list.loaded;
  };
  await show(query.phase);
  return {
    title: `${lesson.label}, replicate ${lesson.replicate + 1}`,
    run: id,
    tab: "study",
    badges: run.badges,
    up: to(["run", id]),
    crumbs: [
      [run.run.name, to(["run", id])],
      [lesson.label, null],
      [`replicate ${lesson.replicate + 1}`, null],
    ],
    content: [
      head(page, run, beside),
      strip,
      section(query.phase ? `Episodes of ${words(query.phase)}` : "Episodes", { class: "block" }, holder),
    ],
    keysTitle: "Lesson",
    keys: [
      { keys: "]", does: "next lesson", run: () => (page.next ? go(beside(page.next)) : false) },
      { keys: "[", does: "previous lesson", run: () => (page.previous ? go(beside(page.previous)) : false) },
      { keys: "Enter", does: "open the row", run: () => false },
    ],
  };
}

/** An export holds the list whole: the phase is picked here. */
async function* filtered(source, phase) {
  for await (const page of source)
    yield phase
      ? { ...page, episodes: page.episodes.filter((e) => e.phase === phase), total: undefined }
      : page;
}

function result(phase) {
  const failed = phase.failed ? `, ${count(phase.failed)} failed` : "";
  if (!phase.graded) return `${plural(phase.episodes, "episode")}${failed}`;
  const share = `${phase.right}/${phase.graded} right`;
  return phase.kind === "teach" && phase.first_right !== phase.right
    ? `${share}, ${phase.first_right} at first${failed}`
    : `${share}${failed}`;
}

function head(page, run, beside) {
  const { lesson } = page;
  const replicates = h(
    "select",
    {
      "aria-label": "Replicate",
      on: { change: () => go(to(["run", page.run, "lesson", lesson.condition, replicates.value])) },
    },
    run.replicates.map((r) =>
      h("option", { value: r, ...(r === lesson.replicate ? { selected: true } : {}) }, `replicate ${r + 1}`),
    ),
  );
  const baseline = run.conditions.find((c) => c.id === lesson.condition)?.baseline;
  return titled(
    lesson.label,
    null,
    [
      lesson.status === "finished"
        ? chip("good", "✓", "finished")
        : lesson.status === "running"
          ? chip("info", "▸", "running")
          : chip("plain", "·", "planned"),
      Object.entries(page.coordinates).map(([path, value]) =>
        h("span", {}, `${path}: `, h("b", {}, String(value))),
      ),
      h("span", {}, h("b", {}, count(lesson.episodes)), " episodes"),
      lesson.failed ? h("span", { class: "wrong" }, h("b", {}, count(lesson.failed)), " failed") : null,
      h("span", {}, h("b", {}, count(page.tokens)), " tokens"),
      h("span", {}, duration(lesson.wall_s)),
    ],
    run.replicates.length > 1 ? replicates : null,
    page.previous
      ? link(beside(page.previous), { class: "button", title: "Previous lesson ([)" }, "‹ Previous")
      : button("‹ Previous", () => {}, { disabled: true }),
    page.next
      ? link(beside(page.next), { class: "button", title: "Next lesson (])" }, "Next ›")
      : button("Next ›", () => {}, { disabled: true }),
    baseline && baseline !== lesson.condition
      ? link(
          to(["run", page.run, "compare"], { first: lesson.condition, second: baseline }),
          { class: "button" },
          "Compare with baseline",
        )
      : null,
    link(
      to(["run", page.run, "graphs"], { condition: lesson.condition, replicate: lesson.replicate }),
      { class: "button" },
      "Graphs",
    ),
  );
}
