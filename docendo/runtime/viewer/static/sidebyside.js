// Two episodes beside each other, aligned act by act, with what differs between them.

import { chip, h, link } from "./dom.js";
import { change, number, signed, words } from "./format.js";
import { diffSide, diffWords, likeness } from "./diff.js";
import { badge, highlighted, turnText } from "./turns.js";

/** Steps of two episodes in pairs [first or null, second or null]: the longest common sequence of who did what. */
export function aligned(first, second) {
  const name = (step) => `${step.agent}.${step.act}.${step.branch}`;
  const [n, m] = [first.length, second.length];
  const length = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--)
      length[i][j] =
        name(first[i]) === name(second[j])
          ? length[i + 1][j + 1] + 1
          : Math.max(length[i + 1][j], length[i][j + 1]);
  }
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < n || j < m) {
    if (i < n && j < m && name(first[i]) === name(second[j])) pairs.push([first[i++], second[j++]]);
    else if (j === m || (i < n && length[i + 1][j] >= length[i][j + 1])) pairs.push([first[i++], null]);
    else pairs.push([null, second[j++]]);
  }
  return pairs;
}

/** A pair as a row. `view`: {roles, flags, address (step -> href)}, each [first, second]; `before`: the last full pair above. */
export function pairRow([a, b], view, index, before) {
  const texts = [textOf(a), textOf(b)];
  const parts =
    a && b && texts[0] && texts[1] && texts[0] !== texts[1] ? diffWords(texts[0], texts[1]) : null;
  const alike = parts ? likeness(parts) : null;
  const marked = alike !== null && alike >= 0.15 ? parts : null;
  return h(
    "div",
    { class: "pair", role: "listitem", "data-pair": index },
    side(a, texts[0], marked, "first", view, 0),
    h("div", { class: "delta" }, deltas(a, b, texts, alike, before)),
    side(b, texts[1], marked, "second", view, 1),
  );
}

function textOf(step) {
  if (!step) return "";
  const said = step.messages
    .map(({ message }) => message.text)
    .filter(Boolean)
    .join("\n");
  const beliefs = step.beliefs.map((belief) => expectation(belief)).join("\n");
  const decisions = step.decisions.map((d) => decided(d)).join("\n");
  if (step.decisions.length && step.act !== "draft" && step.act !== "send") return decisions;
  if (step.beliefs.length) return beliefs;
  if (step.stops.length)
    return step.stops
      .map((stop) => `Stopped: ${stop.reason}${stop.detail ? ` (${stop.detail})` : ""}`)
      .join("\n");
  return said || step.errors.map((e) => `Failed (${e.failure}): ${e.message}`).join("\n");
}

function decided({ chosen, policy, reasons }) {
  const what =
    policy === "critic"
      ? chosen
        ? "accepts the draft"
        : "vetoes the draft"
      : chosen === true
        ? "decides to help"
        : chosen === false
          ? "decides not to help"
          : `decides: ${
              chosen && typeof chosen === "object"
                ? Object.entries(chosen)
                    .map(([k, v]) => `${k} ${v}`)
                    .join(", ")
                : chosen
            }`;
  const why = Object.entries(reasons ?? {})
    .filter(([, v]) => v !== "" && typeof v !== "object")
    .map(([k, v]) => `${k} ${typeof v === "number" ? number(v, 3) : v}`)
    .join(", ");
  return why ? `${what}; ${why}` : what;
}

function expectation({ misconceptions, predicted_answer: answer, p_correct: p }) {
  const likely = Object.entries(misconceptions ?? {})
    .filter(([, q]) => q >= 0.2)
    .sort((x, y) => y[1] - x[1])
    .map(([name, q]) => `${words(name)} ${number(q)}`)
    .join(", ");
  return [
    likely ? `suspects ${likely}` : null,
    answer !== null || p !== null
      ? `expects ${answer ?? "–"}${p !== null ? `, p(correct) ${number(p)}` : ""}`
      : null,
  ]
    .filter(Boolean)
    .join("; ");
}

function side(step, text, parts, which, view, i) {
  if (!step) return h("div", { class: "absent" }, "no such act here");
  const flags = (view.flags[i].get(step.turn) ?? []).filter(
    (f) => f.found && (f.branch ?? "") === step.branch,
  );
  const role = view.roles[i][step.agent] ?? "other";
  const graded = step.grades.at(-1);
  return h(
    "article",
    {
      class: `say ${step.agent ? `from-${role}` : ""} ${step.messages.length && step.messages.every(({ message }) => !message.recipients.includes("*")) ? "aside" : ""}`,
    },
    h(
      "header",
      {},
      link(
        view.address[i](step),
        {
          class: "turn-number tabular",
          title: "Open this turn in its episode",
          "data-focus": `pair-${which}-${step.index}`,
        },
        `turn ${turnText(step)}`,
      ),
      step.agent ? badge(step.agent, view.roles[i]) : null,
      h("span", { class: "act" }, words(step.act)),
    ),
    text
      ? h(
          "p",
          { class: "words" },
          parts ? diffSide(parts, which) : step.messages.length ? highlighted(text, flags) : text,
        )
      : null,
    h(
      "div",
      { class: "marks" },
      flags.length ? chip("leak", "⚑", "leak") : null,
      graded
        ? chip(
            graded.correct === true ? "good" : graded.correct === false ? "bad" : "warn",
            graded.correct === true ? "✓" : graded.correct === false ? "✗" : "?",
            `${graded.answer ?? "no answer"}: ${graded.correct === true ? "right" : graded.correct === false ? "wrong" : "not judged"}`,
          )
        : null,
      step.spends.map((spend) =>
        chip(
          spend.remaining === 0 ? "warn" : "plain",
          "○",
          `${words(spend.unit)} −${spend.amount}${spend.remaining === null ? "" : `, ${spend.remaining} left`}`,
        ),
      ),
    ),
  );
}

function deltas(a, b, texts, alike, before) {
  if (!a || !b) return null;
  const tokens = (step) =>
    step.messages.reduce((n, { message }) => n + (message.usage?.completion_tokens ?? 0), 0);
  const [ta, tb] = [tokens(a), tokens(b)];
  const apart = (pair, unit) =>
    pair && unit in pair[0].ledger && unit in pair[1].ledger
      ? pair[1].ledger[unit] - pair[0].ledger[unit]
      : 0;
  const units = Object.keys(a.ledger).filter((unit) => apart([a, b], unit) !== apart(before, unit));
  const [ga, gb] = [a.grades.at(-1), b.grades.at(-1)];
  const mark = (g) => (g?.correct === true ? "✓" : g?.correct === false ? "✗" : "?");
  const [pa, pb] = [a.beliefs.at(-1)?.p_correct, b.beliefs.at(-1)?.p_correct];
  return [
    texts[0] === texts[1]
      ? h("span", {}, texts[0] ? "same words" : "")
      : alike !== null
        ? h("span", { title: "share of the words that both have" }, `${Math.round(alike * 100)} % alike`)
        : null,
    ta !== tb ? h("span", {}, h("b", {}, change(tb - ta)), " tokens") : null,
    units.map((unit) =>
      h(
        "span",
        { title: `${words(unit)} left: ${a.ledger[unit] ?? "no limit"} and ${b.ledger[unit] ?? "no limit"}` },
        h("b", {}, change(apart([a, b], unit))),
        ` ${words(unit)} left`,
      ),
    ),
    ga && gb && ga.correct !== gb.correct
      ? h("span", {}, "score ", h("b", {}, `${mark(ga)} → ${mark(gb)}`))
      : null,
    typeof pa === "number" && typeof pb === "number" && Math.abs(pb - pa) >= 0.005
      ? h("span", {}, h("b", {}, signed(pb - pa)), " p(correct)")
      : null,
  ];
}
