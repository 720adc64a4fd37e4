// The steps of an episode as rows: who acted, what was said, to whom, and the leaks at the very words.

import { button, chip, h } from "./dom.js";
import { count, words } from "./format.js";
import { belief, decision, failure, flag, grade, memory, spend, stop } from "./marks.js";
import { laneOf, readable } from "./transcript.js";

/** Acts whose typed output is an event of its own, which says the same in words. */
const TOLD = new Set(["choose", "decide", "diagnose", "predict", "remember", "review", "judge"]);

const LETTERS = { teacher: "T", student: "S", critic: "C", diagnostician: "D" };

/** The sign of an agent: the letter and colour of its role. */
export function badge(agent, roles) {
  const role = roles[agent] ?? agent;
  return h(
    "span",
    { class: `agent role-${role in LETTERS ? role : "other"}` },
    h("span", { class: "letter", "aria-hidden": "true" }, LETTERS[role] ?? agent.slice(0, 1).toUpperCase()),
    agent,
  );
}

/** All steps as groups: what was said in the lanes, and beside it the notes in the margin that followed.
 *  Gives [groups, step elements by index]. `view`: {roles, lens, flags, open(step), choose(step)}. */
export function groups(all, view) {
  const elements = all.map((step) => row(step, view));
  const found = [];
  for (const step of all) {
    const margin = laneOf(step, view.roles) === "margin";
    if (!margin || !found.length)
      found.push({ lane: h("div", { class: "lane-cell" }), margin: h("div", { class: "margin-cell" }) });
    found.at(-1)[margin ? "margin" : "lane"].append(elements[step.index]);
  }
  return [
    found.map(({ lane, margin }) =>
      h("li", { class: "group" }, lane, margin.childNodes.length ? margin : null),
    ),
    elements,
  ];
}

function row(step, view) {
  const lane = laneOf(step, view.roles);
  const text = turnText(step);
  return h(
    "div",
    { class: `turn lane-${lane}`, "data-step": step.index },
    h(
      "div",
      { class: "gutter" },
      button(text, () => view.choose(step), {
        class: "turn-number",
        "aria-label": `turn ${text}`,
        title: "Link to this turn",
        "data-focus": `turn-${step.index}`,
      }),
      step.branch ? h("span", { class: "branch", title: step.branch }, step.branch) : null,
    ),
    h("div", { class: "lane" }, card(step, view)),
  );
}

/** The number of a step's turn; `pre` before the graph starts. */
export function turnText(step) {
  return step.turn < 0 ? "pre" : String(step.turn);
}

function card(step, view) {
  const said = step.messages.map(({ message }) => message);
  const quiet = said.length > 0 && said.every((m) => !m.recipients.includes("*"));
  const hidden = view.lens && said.length && !said.some((m) => readable(m, view.lens));
  return h(
    "article",
    {
      class: `say ${quiet ? "aside" : ""} ${hidden ? "unseen" : ""} ${step.agent ? `from-${view.roles[step.agent] ?? "other"}` : "from-nobody"}`,
    },
    step.agent ? heading(step, said, hidden, view) : null,
    step.messages.map((event) => spoken(event, step, view)),
    step.decisions.map(decision),
    step.beliefs.map(belief),
    step.grades.map(grade),
    step.flags.filter((f) => f.said !== step.turn || !f.found).map(flag),
    step.memories.map(memory),
    step.spends.length ? h("div", { class: "marks" }, step.spends.map(spend)) : null,
    step.errors.map(failure),
    step.stops.map(stop),
  );
}

function heading(step, said, hidden, view) {
  const to = [
    ...new Set(
      said.flatMap((m) =>
        m.recipients.includes("*") ? [] : m.recipients.length ? m.recipients : ["itself"],
      ),
    ),
  ];
  const usage = said.reduce((sum, m) => sum + (m.usage?.completion_tokens ?? 0), 0);
  return h(
    "header",
    {},
    badge(step.agent, view.roles),
    h(
      "span",
      { class: "act" },
      words(step.act),
      to.length
        ? h(
            "span",
            { class: "only", title: "Not part of the dialogue that all others read" },
            ` → ${to.join(", ")} only`,
          )
        : null,
    ),
    hidden ? chip("warn", "⊘", `not seen by ${view.lens}`) : null,
    h("span", { class: "spacer" }),
    usage
      ? h("span", { class: "faint small tabular tokens", title: "completion tokens" }, `${count(usage)} tok`)
      : null,
    step.calls.length
      ? button([h("span", { "aria-hidden": "true" }, "◉"), " saw"], () => view.open(step), {
          class: "quiet saw",
          "aria-label": `What ${step.agent} saw at turn ${turnText(step)}`,
          title: `What ${step.agent} saw: the exact prompt (w)`,
          "data-focus": `saw-${step.index}`,
        })
      : null,
  );
}

function spoken(event, step, view) {
  const { message } = event;
  if (TOLD.has(message.act) && (step.decisions.length || step.beliefs.length || step.memories.length))
    return null;
  const flags = (view.flags.get(step.turn) ?? []).filter((f) => f.found && (f.branch ?? "") === step.branch);
  const found = flags.length > 0;
  return [
    h("p", { class: "words" }, highlighted(message.text, flags)),
    message.thoughts
      ? h(
          "details",
          { class: "thoughts" },
          h("summary", {}, "thoughts, private"),
          h("p", { class: "words" }, message.thoughts),
        )
      : null,
    found || event.names_answer
      ? h(
          "div",
          { class: "marks" },
          found
            ? chip(
                "leak",
                "⚑",
                `leak: ${[...new Set(flags.map((f) => `by ${f.by === "rule" ? "the rule" : f.agent || "a judge"}`))].join(", ")}`,
                flags
                  .map((f) => f.reason)
                  .filter(Boolean)
                  .join("; ") || "The answer was given away in these words",
              )
            : null,
          event.names_answer && !found
            ? chip(
                "plain",
                "≡",
                "names the answer",
                "The laboratory's note: the words hold the item's answer. No agent sees it.",
              )
            : null,
        )
      : null,
  ];
}

/** Text with the words at fault marked. Places are counted in characters (code points), as the laboratory counts them. */
export function highlighted(text, flags) {
  const letters = Array.from(text);
  const marks = [];
  for (const { words: said, start } of flags) {
    const size = Array.from(said).length;
    if (!size) continue;
    const at = start ?? indexOf(letters, Array.from(said));
    if (at >= 0 && letters.slice(at, at + size).join("") === said) marks.push([at, at + size]);
  }
  marks.sort((a, b) => a[0] - b[0]);
  const parts = [];
  let from = 0;
  for (const [start, end] of marks) {
    if (start < from) continue;
    parts.push(
      letters.slice(from, start).join(""),
      h(
        "mark",
        { class: "leaked", title: "leak: these words give the answer away" },
        letters.slice(start, end).join(""),
      ),
    );
    from = end;
  }
  return [...parts, letters.slice(from).join("")];
}

function indexOf(letters, wanted) {
  for (let i = 0; i + wanted.length <= letters.length; i++)
    if (wanted.every((c, j) => letters[i + j] === c)) return i;
  return -1;
}
