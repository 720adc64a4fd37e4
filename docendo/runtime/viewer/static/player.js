// The bar over an episode: the scrubber, playback, and the ledger ticking down.

import { button, h, replace } from "./dom.js";
import { count, words } from "./format.js";
import { turnText } from "./turns.js";

const PACE_MS = 900;
const LETTERS = { teacher: "T", student: "S", critic: "C", diagnostician: "D" };

/** The bar. `all`: steps; `limits`: what each unit started with; `choose(index)`: goes to a step. Gives {element, at, play, stop}. */
export function player(all, { roles, limits, flags, choose, playing }) {
  const ticks = all.map((step, i) =>
    button(sign(step, roles, flags), () => choose(i), {
      class: `role-${step.agent ? (roles[step.agent] ?? "other") : "none"}`,
      title: `turn ${turnText(step)}: ${step.agent || "laboratory"} ${words(step.act)}`,
      tabindex: "-1",
      "aria-label": `turn ${turnText(step)}, ${step.agent} ${words(step.act)}`,
    }),
  );
  const range = h("input", {
    type: "range",
    min: 0,
    max: all.length - 1,
    step: 1,
    class: "range",
    "aria-label": "Turn of the episode",
    on: { input: () => choose(Number(range.value)) },
  });
  const start = button("▶ Play", () => toggle(), { class: "play", title: "Play step by step (Space)" });
  const ledger = h("div", { class: "ledger", role: "group", "aria-label": "Ledger: what is left" });
  let timer = null;
  let now = 0;
  const stop = () => {
    clearInterval(timer);
    if (timer !== null) playing(false);
    timer = null;
    replace(start, "▶ Play");
  };
  const toggle = () => {
    if (timer !== null) return stop();
    if (now >= all.length - 1) choose(0);
    timer = setInterval(() => (now >= all.length - 1 ? stop() : choose(now + 1)), PACE_MS);
    playing(true);
    replace(start, "❚❚ Pause");
  };
  const at = (index) => {
    now = index;
    range.value = String(index);
    range.setAttribute(
      "aria-valuetext",
      `turn ${turnText(all[index])}, ${all[index].agent} ${words(all[index].act)}`,
    );
    ticks.forEach((tick, i) =>
      i === index ? tick.setAttribute("aria-current", "step") : tick.removeAttribute("aria-current"),
    );
    replace(ledger, ledgerAt(all, index, limits));
  };
  const element = h(
    "div",
    { class: "player" },
    h(
      "div",
      { class: "scrub-row" },
      start,
      h("div", { class: "scrub" }, h("div", { class: "scrubber" }, ticks), range),
    ),
    ledger,
  );
  return { element, at, toggle, stop };
}

function sign(step, roles, flags) {
  if (step.errors.length) return "!";
  if (
    (flags.get(step.turn) ?? []).some((f) => f.found && (f.branch ?? "") === step.branch) &&
    step.messages.length
  )
    return "⚑";
  const graded = step.grades.at(-1);
  if (graded) return graded.correct === true ? "✓" : graded.correct === false ? "✗" : "?";
  return step.agent ? (LETTERS[roles[step.agent]] ?? "·") : "■";
}

/** What is left of each unit after a step, as pips or figures, and the tokens spent so far. */
function ledgerAt(all, index, limits) {
  const units = Object.keys(limits);
  const left = all[index].ledger;
  const spent = {};
  let tokens = 0;
  for (const step of all.slice(0, index + 1)) {
    for (const spend of step.spends) spent[spend.unit] = (spent[spend.unit] ?? 0) + spend.amount;
    for (const { message } of step.messages) tokens += message.usage?.completion_tokens ?? 0;
  }
  const unlimited = Object.keys(spent).filter((unit) => !units.includes(unit));
  return [
    units.map((unit) => unitView(unit, left[unit] ?? limits[unit], limits[unit])),
    unlimited.map((unit) =>
      h("span", { class: "unit" }, words(unit), h("b", {}, `${count(spent[unit])} spent`)),
    ),
    h("span", { class: "unit soft" }, h("b", {}, count(tokens)), "tokens said so far"),
  ];
}

function unitView(unit, left, limit) {
  return h(
    "span",
    { class: `unit ${left <= 0 ? "out" : ""}`, title: `${left} of ${limit} ${words(unit)} left` },
    words(unit),
    limit <= 10
      ? h(
          "span",
          { class: "pips", "aria-hidden": "true" },
          "●".repeat(Math.max(0, left)),
          "○".repeat(Math.max(0, limit - left)),
        )
      : null,
    h("b", {}, `${count(left)}/${count(limit)}`),
    left <= 0 ? " spent" : " left",
  );
}
