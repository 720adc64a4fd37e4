// A run as it goes on: how far, how fast, what waits, what stands still. Asks the server every second.

import { chip, h, link, replace, scroller, section, table } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { forget, get } from "./data.js";
import { onLeave, to } from "./router.js";
import { episodeAddress } from "./episodes.js";
import { statusChip } from "./page_store.js";
import { runOf } from "./page_study.js";
import { titled } from "./shell.js";

const EVERY_MS = 1000;

/** The page. */
export async function livePage({ run: id }) {
  const run = await runOf(id);
  const label = new Map(run.conditions.map((c) => [c.id, c.label]));
  const holder = h("div", { "aria-live": "off", class: "live" });
  let [version, timer, gone] = [null, null, false];
  const ask = async () => {
    try {
      const page = await get(`runs/${id}/live`, {}, { fresh: true });
      if (gone) return;
      if (page.version !== version) {
        if (version !== null) forget();
        version = page.version;
        const focus = document.activeElement?.dataset?.focus;
        replace(holder, body(id, page, label));
        if (focus)
          holder.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
      }
      if (page.status === "running" || page.status === "interrupted") timer = setTimeout(ask, EVERY_MS);
    } catch (error) {
      if (gone) return;
      replace(
        holder,
        h("p", { class: "notice bad", role: "alert" }, error.message, " ", error.suggestion ?? ""),
      );
      timer = setTimeout(ask, 3 * EVERY_MS);
    }
  };
  await ask();
  onLeave(() => {
    gone = true;
    clearTimeout(timer);
  });
  return {
    title: "Live",
    run: id,
    tab: "live",
    badges: run.badges,
    up: to(["run", id]),
    crumbs: [
      [run.run.name, to(["run", id])],
      ["Live", null],
    ],
    content: [titled("Live", "How the run is getting on. This page keeps itself up to date."), holder],
  };
}

function body(id, page, label) {
  return [
    progress(page),
    figures(page),
    page.models.length
      ? section("Models", { class: "block" }, scroller("Models", models(page.models)))
      : null,
    page.running.length
      ? section(
          "Lessons being held",
          { class: "block" },
          scroller("Lessons being held", running(id, page.running)),
        )
      : null,
    page.latest.length
      ? section(
          "Latest episodes",
          { class: "block" },
          h(
            "div",
            { class: "cells" },
            page.latest.map((p) => latest(id, p, label)),
          ),
        )
      : null,
    ending(id, page),
  ];
}

function progress(page) {
  const lessons = page.lessons ? page.lessons_finished / page.lessons : 0;
  const share = page.episodes_expected ? page.episodes / page.episodes_expected : lessons;
  const percent = Math.min(100, Math.round(100 * (page.status === "finished" ? 1 : share)));
  const status =
    page.status === "running"
      ? h("span", {}, h("span", { class: "pulse", "aria-hidden": "true" }), h("b", {}, "running"))
      : statusChip(page.status);
  return [
    h("div", { class: "facts" }, status, h("span", {}, `${percent} %`)),
    h(
      "div",
      {
        class: "progress big",
        role: "progressbar",
        "aria-label": "Episodes done",
        "aria-valuenow": percent,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
      },
      h("span", { style: { width: `${percent}%` } }),
    ),
  ];
}

function figures(page) {
  const expected = page.status === "finished" ? null : page.episodes_expected;
  const values = {
    "lessons finished": outOf(page.lessons_finished, page.lessons),
    episodes: outOf(page.episodes, expected),
    failed: count(page.failed),
    "time so far": duration(page.elapsed_s),
    "time to go": page.status === "running" ? duration(page.eta_s) : "–",
    "tokens per second": count(page.tokens_per_s),
  };
  return h(
    "div",
    { class: "live-figures" },
    Object.entries(values).map(([name, value]) =>
      h("div", { class: "card" }, h("div", { class: "value" }, value), h("div", { class: "name" }, name)),
    ),
  );
}

function outOf(n, all) {
  return all ? `${count(n)} / ${count(all)}` : count(n);
}

function models(all) {
  const numbers = ["in flight", "queued", "requests", "asked", "failures", "tokens/s", "latency"];
  const columns = [{ title: "model" }, ...numbers.map((title) => ({ title, number: true }))];
  const rows = all.map((m) => [
    m.model,
    count(m.in_flight),
    count(m.queued),
    count(m.calls),
    count(m.sent),
    m.failures ? chip("bad", "✗", count(m.failures)) : "0",
    count(m.tokens_per_s),
    duration(m.latency_s),
  ]);
  return table(null, columns, rows, { class: "list" });
}

function running(id, lessons) {
  const columns = [
    { title: "lesson" },
    { title: "episodes", number: true },
    { title: "last episode", number: true },
    { title: "" },
  ];
  const rows = lessons.map((r) => [
    link(
      to(["run", id, "lesson", r.condition, r.replicate]),
      { "data-row": true, "data-focus": `lesson-${r.condition}-${r.replicate}` },
      `${r.label}, replicate ${r.replicate + 1}`,
    ),
    outOf(r.episodes, r.expected),
    r.idle_s === null ? "–" : `${duration(r.idle_s)} ago`,
    r.stalled ? chip("bad", "!", "stalled") : "",
  ]);
  return table(null, columns, rows, { class: "list" });
}

function latest(id, place, label) {
  const focus = `latest-${place.condition}-${place.replicate}-${place.ordinal}`;
  const condition = label.get(place.condition) ?? place.condition;
  return link(
    episodeAddress(id, place),
    { class: "chip", "data-row": true, "data-focus": focus },
    `${condition}, replicate ${place.replicate + 1}, episode ${place.ordinal + 1}`,
  );
}

function ending(id, page) {
  if (page.status === "finished") {
    const results = link(to(["run", id]), {}, "Its results");
    return h("p", { class: "block" }, `The run is finished: ${plural(page.episodes, "episode")}. `, results);
  }
  if (page.status !== "interrupted") return null;
  const command = link(to(["run", id, "errors"]), {}, "The command that goes on with it");
  return h("p", { class: "notice block" }, "Nobody works on this run now. ", command);
}
