// One step of an episode as a row: who acted, what was said, and everything that hangs on it.

import { h, button, chip } from "./dom.js";
import { brief, count, number, probability, words } from "./format.js";
import { laneOf, readable } from "./transcript.js";

/** Acts whose typed output is an event of its own, which says the same in words. */
const TOLD = new Set(["choose", "decide", "diagnose", "predict", "remember", "review", "judge"]);
const LETTERS = { teacher: "T", student: "S", critic: "C", diagnostician: "D" };

/** The sign of an agent: the letter and colour of its role. */
export function badge(agent, roles) {
  const role = roles[agent] ?? agent;
  return h("span", { class: `agent role-${role in LETTERS ? role : "other"}` },
    h("span", { class: "letter", "aria-hidden": "true" }, LETTERS[role] ?? agent.slice(0, 1).toUpperCase()), agent);
}

/** All steps as groups: what was said in the lanes, and beside it the notes in the margin that followed.
 *  Gives [groups, step elements by index]. `view`: {roles, lens, flags, open(step), choose(step)}. */
export function groups(all, view) {
  const elements = all.map((step) => row(step, view));
  const found = [];
  for (const step of all) {
    const margin = laneOf(step, view.roles) === "margin";
    if (!margin || !found.length) found.push({ lane: h("div", { class: "lane-cell" }), margin: h("div", { class: "margin-cell" }) });
    found.at(-1)[margin ? "margin" : "lane"].append(elements[step.index]);
  }
  return [found.map(({ lane, margin }) => h("li", { class: "group" }, lane, margin.childNodes.length ? margin : null)), elements];
}

function row(step, view) {
  const lane = laneOf(step, view.roles);
  const text = turnText(step);
  return h("div", { class: `turn lane-${lane}`, "data-step": step.index },
    h("div", { class: "gutter" }, button(text, () => view.choose(step), { class: "turn-number", "aria-label": `turn ${text}`, title: "Link to this turn", "data-focus": `turn-${step.index}` }),
      step.branch ? h("span", { class: "branch", title: step.branch }, step.branch) : null),
    h("div", { class: "lane" }, card(step, view)));
}

/** The number of a step's turn; `pre` before the graph starts. */
export function turnText(step) {
  return step.turn < 0 ? "pre" : String(step.turn);
}

function card(step, view) {
  const said = step.messages.map(({ message }) => message);
  const quiet = said.length > 0 && said.every((m) => !m.recipients.includes("*"));
  const hidden = view.lens && said.length && !said.some((m) => readable(m, view.lens));
  return h("article", { class: `say ${quiet ? "aside" : ""} ${hidden ? "unseen" : ""} ${step.agent ? `from-${view.roles[step.agent] ?? "other"}` : "from-nobody"}` },
    step.agent ? heading(step, said, hidden, view) : null,
    step.messages.map((event) => spoken(event, step, view)),
    step.decisions.map(decision),
    step.beliefs.map(belief),
    step.grades.map(grade),
    step.flags.filter((f) => f.said !== step.turn || !f.found).map(flag),
    step.memories.map(memory),
    step.spends.length ? h("div", { class: "marks" }, step.spends.map(spend)) : null,
    step.errors.map(failure),
    step.stops.map(stop));
}

function heading(step, said, hidden, view) {
  const to = [...new Set(said.flatMap((m) => (m.recipients.includes("*") ? [] : m.recipients.length ? m.recipients : ["itself"])))];
  const usage = said.reduce((sum, m) => sum + (m.usage?.completion_tokens ?? 0), 0);
  return h("header", {}, badge(step.agent, view.roles), h("span", { class: "act" }, words(step.act), to.length ? h("span", { class: "only", title: "Not part of the dialogue that all others read" }, ` → ${to.join(", ")} only`) : null),
    hidden ? chip("warn", "⊘", `not seen by ${view.lens}`) : null,
    h("span", { class: "spacer" }),
    usage ? h("span", { class: "faint small tabular tokens", title: "completion tokens" }, `${count(usage)} tok`) : null,
    step.calls.length ? button([h("span", { "aria-hidden": "true" }, "◉"), " saw"], () => view.open(step), { class: "quiet saw", "aria-label": `What ${step.agent} saw at turn ${turnText(step)}`, title: `What ${step.agent} saw: the exact prompt (w)`, "data-focus": `saw-${step.index}` }) : null);
}

function spoken(event, step, view) {
  const { message } = event;
  if (TOLD.has(message.act) && (step.decisions.length || step.beliefs.length || step.memories.length)) return null;
  const flags = (view.flags.get(step.turn) ?? []).filter((f) => f.found && (f.branch ?? "") === step.branch);
  const found = flags.length > 0;
  return [
    h("p", { class: "words" }, highlighted(message.text, flags)),
    message.thoughts ? h("details", { class: "thoughts" }, h("summary", {}, "thoughts, private"), h("p", { class: "words" }, message.thoughts)) : null,
    found || event.names_answer ? h("div", { class: "marks" },
      found ? chip("leak", "⚑", `leak: ${[...new Set(flags.map((f) => `by ${f.by === "rule" ? "the rule" : f.agent || "a judge"}`))].join(", ")}`, flags.map((f) => f.reason).filter(Boolean).join("; ") || "The answer was given away in these words") : null,
      event.names_answer && !found ? chip("plain", "≡", "names the answer", "The laboratory's note: the words hold the item's answer. No agent sees it.") : null) : null,
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
    parts.push(letters.slice(from, start).join(""), h("mark", { class: "leaked", title: "leak: these words give the answer away" }, letters.slice(start, end).join("")));
    from = end;
  }
  return [...parts, letters.slice(from).join("")];
}

function indexOf(letters, wanted) {
  for (let i = 0; i + wanted.length <= letters.length; i++) if (wanted.every((c, j) => letters[i + j] === c)) return i;
  return -1;
}

function decision(event) {
  const reasons = Object.entries(event.reasons ?? {}).filter(([, v]) => v !== "" && v !== null);
  if (event.policy === "critic") {
    return h("div", { class: "decision" }, h("p", {}, event.chosen ? chip("good", "✓", "accepts the draft") : chip("bad", "✗", "vetoes the draft")),
      reasons.length ? h("p", { class: "soft" }, reasons.map(([k, v]) => (k === "reason" ? brief(v) : `${words(k)}: ${brief(v)}`)).join(" · ")) : null);
  }
  return h("div", { class: "decision" },
    h("p", {}, h("span", { class: "soft" }, "decides "), h("strong", {}, chosen(event.chosen)),
      h("span", { class: "soft" }, ` (${[event.policy, event.rank !== null && event.rank !== undefined ? `rank ${event.rank + 1}` : null, event.score !== null && event.score !== undefined ? `score ${number(event.score, 3)}` : null].filter(Boolean).join(", ")})`)),
    reasons.length ? h("dl", { class: "reasons" }, reasons.map(([name, value]) => h("div", {}, h("dt", {}, words(name)), h("dd", {}, scores(value))))) : null);
}

function chosen(value) {
  if (value === true) return "to help";
  if (value === false) return "not to help";
  if (value && typeof value === "object" && !Array.isArray(value)) {
    return Object.entries(value).map(([k, v]) => `${words(k)} ${brief(v)}`).join(", ") || "nothing in particular";
  }
  return brief(value);
}

/** A reason: scores per option become bars, the winner first; anything else is said in words. */
function scores(value) {
  const entries = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [];
  if (entries.length < 2 || !entries.every(([, v]) => typeof v === "number")) return brief(value);
  const most = Math.max(...entries.map(([, v]) => Math.abs(v))) || 1;
  return h("span", { class: "bars" }, entries.sort((a, b) => b[1] - a[1]).map(([name, v], i) => bar(words(name), Math.abs(v) / most, number(v, 3), i === 0 ? "won" : "")));
}

/** A named bar from 0 to 1 with its value in figures. */
export function bar(name, share, figure, kind = "", mark = null) {
  return h("span", { class: `bar ${kind}` }, h("span", { class: "bar-name", title: name }, mark, name),
    h("span", { class: "bar-rail", "aria-hidden": "true" }, h("span", { class: "bar-fill", style: { width: `${Math.max(0, Math.min(1, share)) * 100}%` } })),
    h("span", { class: "bar-figure" }, figure));
}

function belief(event) {
  const known = event.truth?.misconceptions;
  const likely = Object.entries(event.misconceptions ?? {}).filter(([, p]) => p >= 0.2).sort((a, b) => b[1] - a[1]).slice(0, 3);
  return h("div", { class: "belief" },
    event.p_correct !== null || event.predicted_answer !== null ? h("p", {}, h("span", { class: "soft" }, `expects of ${event.student} ${event.given_help ? "after help" : "alone"} `),
      h("strong", {}, event.predicted_answer ?? "–"), event.p_correct !== null ? h("span", { class: "soft" }, `, p(correct) ${probability(event.p_correct)}`) : null) : null,
    Object.keys(event.misconceptions ?? {}).length ? h("div", { class: "bars" },
      likely.length ? likely.map(([name, p]) => bar(words(name), p, probability(p), "", truthMark(known, name))) : h("span", { class: "soft" }, "suspects no misconception")) : null,
    Array.isArray(known) && Object.keys(event.misconceptions ?? {}).length ? h("p", { class: "small soft" }, `truth: ${known.map(words).join(", ") || "no misconception"}`) : null);
}

function truthMark(known, name) {
  if (!Array.isArray(known)) return null;
  return known.includes(name) ? h("span", { class: "true", title: "true", "aria-label": "true" }, "✓ ") : h("span", { class: "untrue", title: "not so", "aria-label": "not so" }, "✗ ");
}

function grade(event) {
  const [kind, mark, verdict] = event.correct === true ? ["good", "✓", "right"] : event.correct === false ? ["bad", "✗", "wrong"] : ["warn", "?", "not judged"];
  return h("div", { class: "marks" }, chip(kind, mark, `${event.answer ?? "no answer"}: ${verdict}`, event.reason),
    h("span", { class: "faint small" }, [event.role === "teacher" ? "teacher's answer" : `attempt ${event.attempt + 1}`, event.helped ? "after help" : null,
      event.confidence !== null && event.confidence !== undefined ? `confidence ${probability(event.confidence)}` : null].filter(Boolean).join(" · ")));
}

function flag(event) {
  const who = event.by === "rule" ? "the rule" : event.agent || "the judge";
  if (event.found === null) return h("div", { class: "marks" }, chip("warn", "?", `${event.flag}: the judge could not be understood`, event.reason));
  if (!event.found) return h("div", { class: "marks" }, chip("plain", "⚐", `no ${event.flag}, as ${who} has it`, event.reason));
  return h("div", { class: "marks" }, chip("leak wrap", "⚑", `${event.flag}, as ${who} has it: “${event.words}” in turn ${event.said}`, event.reason));
}

function spend(event) {
  return chip(event.remaining === 0 ? "warn" : "plain", "○", `${words(event.unit)} −${event.amount}${event.remaining === null ? "" : `, ${event.remaining} left`}`, `bought: ${event.bought}`);
}

function memory(event) {
  const { change } = event;
  const text = event.slot === "mind" ? `${event.agent}'s mind: ${(change.misconceptions ?? []).map(words).join(", ") || "no misconception"}`
    : change.question ? `${event.agent} remembers: ${change.question}` : `${event.agent}'s memory: ${event.slot}`;
  return h("details", { class: "memory" }, h("summary", {}, text), h("pre", {}, JSON.stringify(change, null, 2)));
}

function failure(event) {
  return h("div", { class: "notice bad" }, h("div", {}, h("strong", {}, `Failed (${event.failure}): `), event.message,
    event.detail ? h("details", {}, h("summary", {}, "What was recorded"), h("pre", {}, event.detail)) : null));
}

function stop(event) {
  const why = { end: "the graph came to its end", budget: "a budget ran out", limit: "a bound was hit", failed: "it failed" }[event.reason] ?? event.reason;
  return h("p", { class: "stop" }, `Stopped: ${why}${event.detail ? ` (${event.detail})` : ""}.`);
}

/** What an outcome is called, with its sign. */
export function outcomeChip(outcome, failure = "", detail = "") {
  const [kind, mark, text] = { end: ["plain", "■", "came to its end"], budget: ["warn", "○", detail ? `${detail} spent` : "budget spent"], limit: ["warn", "▣", "bound hit"], failed: ["bad", "✗", failure ? `failed: ${words(failure)}` : "failed"] }[outcome] ?? ["plain", "·", outcome];
  return chip(kind, mark, text);
}
