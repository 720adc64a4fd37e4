// What hangs on a step: decisions with their reasons, beliefs, grades, flags, payments, memory, and how it ended.

import { chip, h } from "./dom.js";
import { brief, number, probability, words } from "./format.js";

export function decision(event) {
  const reasons = Object.entries(event.reasons ?? {}).filter(([, v]) => v !== "" && v !== null);
  if (event.policy === "critic") {
    return h(
      "div",
      { class: "decision" },
      h(
        "p",
        {},
        event.chosen ? chip("good", "✓", "accepts the draft") : chip("bad", "✗", "vetoes the draft"),
      ),
      reasons.length
        ? h(
            "p",
            { class: "soft" },
            reasons.map(([k, v]) => (k === "reason" ? brief(v) : `${words(k)}: ${brief(v)}`)).join(" · "),
          )
        : null,
    );
  }
  return h(
    "div",
    { class: "decision" },
    h(
      "p",
      {},
      h("span", { class: "soft" }, "decides "),
      h("strong", {}, chosen(event.chosen)),
      h(
        "span",
        { class: "soft" },
        ` (${[event.policy, event.rank !== null && event.rank !== undefined ? `rank ${event.rank + 1}` : null, event.score !== null && event.score !== undefined ? `score ${number(event.score, 3)}` : null].filter(Boolean).join(", ")})`,
      ),
    ),
    reasons.length
      ? h(
          "dl",
          { class: "reasons" },
          reasons.map(([name, value]) => h("div", {}, h("dt", {}, words(name)), h("dd", {}, scores(value)))),
        )
      : null,
  );
}

function chosen(value) {
  if (value === true) return "to help";
  if (value === false) return "not to help";
  if (value && typeof value === "object" && !Array.isArray(value)) {
    return (
      Object.entries(value)
        .map(([k, v]) => `${words(k)} ${brief(v)}`)
        .join(", ") || "nothing in particular"
    );
  }
  return brief(value);
}

/** A reason: scores per option become bars, the winner first; anything else is said in words. */
function scores(value) {
  const entries = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [];
  if (entries.length < 2 || !entries.every(([, v]) => typeof v === "number")) return brief(value);
  const most = Math.max(...entries.map(([, v]) => Math.abs(v))) || 1;
  return h(
    "span",
    { class: "bars" },
    entries
      .sort((a, b) => b[1] - a[1])
      .map(([name, v], i) => bar(words(name), Math.abs(v) / most, number(v, 3), i === 0 ? "won" : "")),
  );
}

/** A named bar from 0 to 1 with its value in figures. */
export function bar(name, share, figure, kind = "", mark = null) {
  return h(
    "span",
    { class: `bar ${kind}` },
    h("span", { class: "bar-name", title: name }, mark, name),
    h(
      "span",
      { class: "bar-rail", "aria-hidden": "true" },
      h("span", { class: "bar-fill", style: { width: `${Math.max(0, Math.min(1, share)) * 100}%` } }),
    ),
    h("span", { class: "bar-figure" }, figure),
  );
}

export function belief(event) {
  const known = event.truth?.misconceptions;
  const likely = Object.entries(event.misconceptions ?? {})
    .filter(([, p]) => p >= 0.2)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 3);
  return h(
    "div",
    { class: "belief" },
    event.p_correct !== null || event.predicted_answer !== null
      ? h(
          "p",
          {},
          h(
            "span",
            { class: "soft" },
            `expects of ${event.student} ${event.given_help ? "after help" : "alone"} `,
          ),
          h("strong", {}, event.predicted_answer ?? "–"),
          event.p_correct !== null
            ? h("span", { class: "soft" }, `, p(correct) ${probability(event.p_correct)}`)
            : null,
        )
      : null,
    Object.keys(event.misconceptions ?? {}).length
      ? h(
          "div",
          { class: "bars" },
          likely.length
            ? likely.map(([name, p]) => bar(words(name), p, probability(p), "", truthMark(known, name)))
            : h("span", { class: "soft" }, "suspects no misconception"),
        )
      : null,
    Array.isArray(known) && Object.keys(event.misconceptions ?? {}).length
      ? h("p", { class: "small soft" }, `truth: ${known.map(words).join(", ") || "no misconception"}`)
      : null,
  );
}

function truthMark(known, name) {
  if (!Array.isArray(known)) return null;
  return known.includes(name)
    ? h("span", { class: "true", title: "true", "aria-label": "true" }, "✓ ")
    : h("span", { class: "untrue", title: "not so", "aria-label": "not so" }, "✗ ");
}

export function grade(event) {
  const [kind, mark, verdict] =
    event.correct === true
      ? ["good", "✓", "right"]
      : event.correct === false
        ? ["bad", "✗", "wrong"]
        : ["warn", "?", "not judged"];
  return h(
    "div",
    { class: "marks" },
    chip(kind, mark, `${event.answer ?? "no answer"}: ${verdict}`, event.reason),
    h(
      "span",
      { class: "faint small" },
      [
        event.role === "teacher" ? "teacher's answer" : `attempt ${event.attempt + 1}`,
        event.helped ? "after help" : null,
        event.confidence !== null && event.confidence !== undefined
          ? `confidence ${probability(event.confidence)}`
          : null,
      ]
        .filter(Boolean)
        .join(" · "),
    ),
  );
}

export function flag(event) {
  const who = event.by === "rule" ? "the rule" : event.agent || "the judge";
  if (event.found === null)
    return h(
      "div",
      { class: "marks" },
      chip("warn", "?", `${event.flag}: the judge could not be understood`, event.reason),
    );
  if (!event.found)
    return h(
      "div",
      { class: "marks" },
      chip("plain", "⚐", `no ${event.flag}, as ${who} has it`, event.reason),
    );
  return h(
    "div",
    { class: "marks" },
    chip(
      "leak wrap",
      "⚑",
      `${event.flag}, as ${who} has it: “${event.words}” in turn ${event.said}`,
      event.reason,
    ),
  );
}

export function spend(event) {
  return chip(
    event.remaining === 0 ? "warn" : "plain",
    "○",
    `${words(event.unit)} −${event.amount}${event.remaining === null ? "" : `, ${event.remaining} left`}`,
    `bought: ${event.bought}`,
  );
}

export function memory(event) {
  const { change } = event;
  const text =
    event.slot === "mind"
      ? `${event.agent}'s mind: ${(change.misconceptions ?? []).map(words).join(", ") || "no misconception"}`
      : change.question
        ? `${event.agent} remembers: ${change.question}`
        : `${event.agent}'s memory: ${event.slot}`;
  return h(
    "details",
    { class: "memory" },
    h("summary", {}, text),
    h("pre", {}, JSON.stringify(change, null, 2)),
  );
}

export function failure(event) {
  return h(
    "div",
    { class: "notice bad" },
    h(
      "div",
      {},
      h("strong", {}, `Failed (${event.failure}): `),
      event.message,
      event.detail
        ? h("details", {}, h("summary", {}, "What was recorded"), h("pre", {}, event.detail))
        : null,
    ),
  );
}

export function stop(event) {
  const why =
    {
      end: "the graph came to its end",
      budget: "a budget ran out",
      limit: "a bound was hit",
      failed: "it failed",
    }[event.reason] ?? event.reason;
  return h("p", { class: "stop" }, `Stopped: ${why}${event.detail ? ` (${event.detail})` : ""}.`);
}

/** What an outcome is called, with its sign. */
export function outcomeChip(outcome, failure = "", detail = "") {
  const [kind, mark, text] = {
    end: ["plain", "■", "came to its end"],
    budget: ["warn", "○", detail ? `${detail} spent` : "budget spent"],
    limit: ["warn", "▣", "bound hit"],
    failed: ["bad", "✗", failure ? `failed: ${words(failure)}` : "failed"],
  }[outcome] ?? ["plain", "·", outcome];
  return chip(kind, mark, text);
}
