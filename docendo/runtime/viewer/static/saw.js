// What X saw: for any act the recorded prompt, the raw answer, what was made of it, and what it cost.

import { button, chip, copy, h, replace, segmented } from "./dom.js";
import { brief, count, duration, moment, number } from "./format.js";
import { bind } from "./keys.js";
import { legend, prompt } from "./spans.js";
import { badge, turnText } from "./turns.js";

/** The drawer over an episode. `all`: its steps; `calls()`: promise of the calls' page; `moved(step or null)` hears where it is. */
export function drawer({ all, roles, calls, moved }) {
  const dialog = h("dialog", { class: "drawer", "aria-labelledby": "saw-title" });
  const asked = all.filter((step) => step.calls.length);
  let current = null;
  let release = () => {};
  dialog.addEventListener("close", () => {
    release();
    current = null;
    moved(null);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  const show = async (step) => {
    current = step;
    moved(step);
    const known = await calls();
    if (current === step)
      replace(dialog, contents(step, known, { roles, asked, show, close: () => dialog.close() }));
    dialog.querySelector("#saw-title")?.focus();
    dialog.scrollTop = 0;
  };
  const walk = (by, same) => {
    const list = same ? asked.filter((s) => s.agent === current.agent) : asked;
    const next = list[list.indexOf(current) + by];
    if (next) show(next);
  };
  const open = (step) => {
    const wanted = step.calls.length ? step : (asked.findLast((s) => s.index <= step.index) ?? asked[0]);
    if (!wanted) return false;
    if (!dialog.open) {
      document.body.append(dialog);
      dialog.showModal();
      release = bind("What they saw", [
        { keys: "j or ArrowRight", does: "next act", run: () => walk(1, false) },
        { keys: "k or ArrowLeft", does: "previous act", run: () => walk(-1, false) },
        { keys: "n", does: "next act of the same agent", run: () => walk(1, true) },
        { keys: "p", does: "previous act of the same agent", run: () => walk(-1, true) },
        { keys: "Escape or w", does: "close", run: () => dialog.close() },
      ]);
    }
    return show(wanted);
  };
  return { open, close: () => (dialog.close(), dialog.remove()), dialog };
}

function contents(step, known, { roles, asked, show, close }) {
  const agents = [...new Set(asked.map((s) => s.agent))];
  const nearest = (agent) =>
    asked
      .filter((s) => s.agent === agent)
      .reduce((best, s) => (Math.abs(s.index - step.index) < Math.abs(best.index - step.index) ? s : best));
  const at = asked.indexOf(step);
  return [
    h(
      "header",
      {},
      h("h2", { id: "saw-title", tabindex: "-1" }, `What ${step.agent} saw, turn ${turnText(step)}`),
      h(
        "div",
        { class: "row" },
        segmented(
          "Whose prompt",
          agents.map((a) => [a, a]),
          step.agent,
          (agent) => show(nearest(agent)),
        ),
        button("‹ Act", () => show(asked[at - 1]), { disabled: at <= 0, title: "Previous act (k)" }),
        button("Act ›", () => show(asked[at + 1]), {
          disabled: at >= asked.length - 1,
          title: "Next act (j)",
        }),
        button("Close", close),
      ),
    ),
    h(
      "div",
      { class: "inner" },
      step.calls.map((event, i) => callView(event, known, step, roles, i, step.calls.length)),
    ),
  ];
}

const PURPOSES = {
  act: "the act itself",
  repair: "a second try, after output that did not fit",
  probe: "asked to rank items beforehand",
};

function callView(event, { calls, texts }, step, roles, index, total) {
  const found = calls.find((c) => c.event === event.index);
  if (!found?.recorded)
    return h(
      "p",
      { class: "notice" },
      `The journal of this store does not hold the call ${event.key.slice(0, 12)}.`,
    );
  const call = {
    ...found,
    prompt: found.prompt.map((hash) => ({
      role: texts[hash].role,
      spans: texts[hash].spans.map(([text, provenance, source]) => ({ text, provenance, source })),
    })),
  };
  const promptBox = prompt(call.prompt);
  return h(
    "div",
    { class: "call" },
    h(
      "div",
      { class: "row" },
      badge(step.agent, roles),
      h("span", { class: "act" }, step.act),
      total > 1 ? chip("info", "", `call ${index + 1} of ${total}`) : null,
      event.purpose === "repair"
        ? chip("warn", "↻", "repair", PURPOSES.repair)
        : event.purpose === "probe"
          ? chip("info", "∘", "probe", PURPOSES.probe)
          : null,
      call.error ? chip("bad", "✗", "failed") : null,
    ),
    h(
      "section",
      {},
      h(
        "div",
        { class: "row" },
        h("h3", {}, "Prompt, as recorded"),
        h("span", { class: "spacer" }),
        button("Copy JSON", () => copy(JSON.stringify(copyable(call, event), null, 2), "the call as JSON"), {
          class: "quiet",
        }),
        call.curl ? button("Copy curl", () => copy(call.curl, "a curl command"), { class: "quiet" }) : null,
      ),
      legend(call.prompt, promptBox),
      promptBox,
    ),
    call.error ? h("section", {}, h("h3", {}, "Failure"), h("pre", {}, brief(call.error))) : null,
    (call.completions ?? []).map((completion, i) => answer(completion, i, call.completions.length)),
    call.scores?.length ? h("section", {}, h("h3", {}, "Forced continuations"), scored(call)) : null,
    call.parsed && Object.keys(call.parsed).length
      ? h("section", {}, h("h3", {}, "Parsed output"), h("pre", {}, JSON.stringify(call.parsed, null, 2)))
      : null,
    h("section", {}, h("h3", {}, "Request"), facts(call, event)),
  );
}

function answer(completion, index, total) {
  return h(
    "section",
    {},
    h("h3", {}, total > 1 ? `Raw completion ${index + 1} of ${total}` : "Raw completion"),
    h("pre", {}, completion.text),
    completion.finish === "length" ? h("p", {}, chip("warn", "…", "cut off at the token limit")) : null,
    completion.logprobs?.length
      ? h(
          "details",
          {},
          h(
            "summary",
            {},
            `log-probabilities of ${completion.logprobs.length} tokens, mean ${number(completion.logprobs.reduce((n, [, logprob]) => n + logprob, 0) / completion.logprobs.length, 3)}`,
          ),
          logprobs(completion.logprobs),
        )
      : null,
  );
}

function logprobs(tokens) {
  return h(
    "div",
    { class: "logprobs" },
    tokens.map(([token, logprob, top]) =>
      h(
        "span",
        {
          title: [
            `p ${number(Math.exp(logprob), 3)}, log ${number(logprob, 3)}`,
            ...(top ?? []).map(([t, l]) => `${JSON.stringify(t)} ${number(Math.exp(l), 3)}`),
          ].join("\n"),
          style: {
            "border-bottom-color": `color-mix(in srgb, var(--accent) ${Math.round(Math.exp(logprob) * 100)}%, var(--bad))`,
          },
        },
        token,
      ),
    ),
  );
}

function scored(call) {
  return h(
    "table",
    {},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, "continuation"),
        h("th", { scope: "col", class: "number" }, "log-probability"),
      ),
    ),
    h(
      "tbody",
      {},
      call.scores.map((score, i) =>
        h(
          "tr",
          {},
          h("td", {}, call.request.continuations?.[i] ?? `${i + 1}`),
          h("td", { class: "number" }, scoreText(score)),
        ),
      ),
    ),
  );
}

function scoreText(score) {
  const logs = Array.isArray(score) ? score : score.logprobs;
  const sum = logs.reduce((a, b) => a + b, 0);
  return score.censored ? `≤ ${number(sum, 3)}` : number(sum, 3);
}

function facts(call, event) {
  const { schema, continuations, choices, ...request } = call.request;
  const usage = call.usage ?? {};
  const pairs = [
    ["model", `${event.model} (${call.fingerprint})`],
    ["operation", call.operation],
    ["purpose", PURPOSES[event.purpose] ?? event.purpose],
    ["seed", request.seed ?? "–"],
    [
      "sampling",
      brief(Object.fromEntries(Object.entries(request).filter(([k]) => k !== "seed" && k !== "model"))),
    ],
    choices?.length ? ["choices", choices.join(" | ")] : null,
    [
      "tokens",
      `${count(usage.prompt_tokens)} in${usage.cached_tokens ? ` (${count(usage.cached_tokens)} from the prefix cache)` : ""}, ${count(usage.completion_tokens)} out`,
    ],
    ["latency", duration(call.latency_s)],
    ["asked", moment(call.created_at)],
    [
      "journal",
      call.shared.length
        ? `shared: the same episode of ${count(call.shared.length)} other conditions has this very answer`
        : "this condition's own answer",
    ],
    ["key", h("code", {}, event.key)],
  ].filter(Boolean);
  return [
    h(
      "dl",
      { class: "pairs" },
      pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
    schema
      ? h(
          "details",
          {},
          h("summary", {}, "JSON schema that the answer had to fit"),
          h("pre", {}, JSON.stringify(schema, null, 2)),
        )
      : null,
  ];
}

function copyable(call, event) {
  return {
    key: event.key,
    model: event.model,
    fingerprint: call.fingerprint,
    operation: call.operation,
    request: call.request,
    messages: call.prompt.map((m) => ({
      role: m.role,
      content: m.spans.map((s) => s.text).join(""),
      spans: m.spans,
    })),
    completions: call.completions,
    error: call.error,
    usage: call.usage,
  };
}
