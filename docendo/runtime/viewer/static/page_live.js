// A run as it goes on: how far, how fast, what waits, what stands still. Asks the server every second.

import { h, chip, link, replace, section, table } from "./dom.js";
import { count, duration, number, plural, words } from "./format.js";
import { forget, get } from "./data.js";
import { onLeave, to } from "./router.js";
import { titled } from "./shell.js";
import { statusChip } from "./page_store.js";
import { episodeAddress } from "./episodes.js";
import { runOf } from "./page_study.js";

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
        if (focus) holder.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
      }
      if (page.status === "running" || page.status === "interrupted") timer = setTimeout(ask, EVERY_MS);
    } catch (error) {
      if (gone) return;
      replace(holder, h("p", { class: "notice bad", role: "alert" }, error.message, " ", error.suggestion ?? ""));
      timer = setTimeout(ask, 3 * EVERY_MS);
    }
  };
  await ask();
  onLeave(() => {
    gone = true;
    clearTimeout(timer);
  });
  return {
    title: "Live", run: id, tab: "live", badges: run.badges, up: to(["run", id]), crumbs: [[run.run.name, to(["run", id])], ["Live", null]],
    content: [titled("Live", "How the run is getting on. This page keeps itself up to date."), holder],
  };
}

function body(id, page, label) {
  const share = page.lessons ? page.lessons_finished / page.lessons : 0;
  const over = page.status === "finished";
  const done = over ? 1 : page.episodes_expected ? page.episodes / page.episodes_expected : share;
  const figures = [
    ["lessons finished", `${count(page.lessons_finished)} / ${count(page.lessons)}`], ["episodes", page.episodes_expected && !over ? `${count(page.episodes)} / ${count(page.episodes_expected)}` : count(page.episodes)], ["failed", count(page.failed)],
    ["time so far", duration(page.elapsed_s)], ["time to go", page.status === "running" ? duration(page.eta_s) : "–"], ["tokens per second", page.tokens_per_s === null ? "–" : count(page.tokens_per_s)],
  ];
  return [
    h("div", { class: "facts" }, page.status === "running" ? h("span", {}, h("span", { class: "pulse", "aria-hidden": "true" }), h("b", {}, "running")) : statusChip(page.status), h("span", {}, `${number(100 * done, 0)} %`)),
    h("div", { class: "progress big", role: "progressbar", "aria-label": "Episodes done", "aria-valuenow": Math.round(100 * done), "aria-valuemin": 0, "aria-valuemax": 100 }, h("span", { style: { width: `${Math.min(100, 100 * done)}%` } })),
    h("div", { class: "live-figures" }, figures.map(([name, value]) => h("div", { class: "card" }, h("div", { class: "value" }, value), h("div", { class: "name" }, name)))),
    page.models.length ? section("Models", { class: "block" }, h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Models" }, table(null, [{ title: "model" }, ...["in flight", "queued", "requests", "asked", "failures", "tokens/s", "latency"].map((title) => ({ title, number: true }))],
      page.models.map((m) => [m.model, count(m.in_flight), count(m.queued), count(m.calls), count(m.sent), m.failures ? chip("bad", "✗", count(m.failures)) : "0", m.tokens_per_s === null ? "–" : count(m.tokens_per_s), duration(m.latency_s)]), { class: "list" }))) : null,
    page.running.length ? section("Lessons being held", { class: "block" }, h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Lessons being held" }, table(null, [{ title: "lesson" }, { title: "episodes", number: true }, { title: "last episode", number: true }, { title: "" }],
      page.running.map((r) => [link(to(["run", id, "lesson", r.condition, r.replicate]), { "data-row": true, "data-focus": `lesson-${r.condition}-${r.replicate}` }, `${r.label}, replicate ${r.replicate + 1}`), r.expected ? `${count(r.episodes)} / ${count(r.expected)}` : count(r.episodes), r.idle_s === null ? "–" : `${duration(r.idle_s)} ago`, r.stalled ? chip("bad", "!", "stalled") : ""]), { class: "list" }))) : null,
    page.latest.length ? section("Latest episodes", { class: "block" }, h("div", { class: "cells" }, page.latest.map((p) => link(episodeAddress(id, p), { class: "chip", "data-row": true, "data-focus": `latest-${p.condition}-${p.replicate}-${p.ordinal}` }, `${label.get(p.condition) ?? p.condition}, replicate ${p.replicate + 1}, ${words(`episode ${p.ordinal + 1}`)}`)))) : null,
    page.status === "finished" ? h("p", { class: "block" }, `The run is finished: ${plural(page.episodes, "episode")}. `, link(to(["run", id]), {}, "Its results")) : null,
    page.status === "interrupted" ? h("p", { class: "notice block" }, "Nobody works on this run now. ", link(to(["run", id, "errors"]), {}, "The command that goes on with it")) : null,
  ];
}
