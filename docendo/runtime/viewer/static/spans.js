// A recorded prompt: every piece of text in the colour, underline and tag of where it came from.

import { h } from "./dom.js";
import { count } from "./format.js";

/** Provenance -> what it means, in the order of the legend. */
export const PROVENANCES = {
  instruction: "the scenario's own words",
  public: "the item and what was said to all",
  own: "what the agent said itself",
  private: "its hidden profile",
  memory: "its memory",
  belief: "what it believes or observed",
  budget: "what is left to spend",
  gold: "the answer key",
  mind: "the state of a mind",
};

/** The prompt, message by message. `messages`: [{role, spans: [{text, provenance, source}]}]. */
export function prompt(messages) {
  return h(
    "div",
    { class: "prompt" },
    messages.map((message) =>
      h(
        "section",
        { class: "prompt-message" },
        h("h4", {}, message.role),
        h(
          "div",
          { class: "prompt-text", tabindex: "0", role: "region", "aria-label": `${message.role} message` },
          message.spans.map(span),
        ),
      ),
    ),
  );
}

function span({ text, provenance, source }) {
  if (provenance === "instruction") return h("span", { class: "span" }, text);
  const label = source ? `${provenance}: ${source}` : provenance;
  return h(
    "span",
    { class: `span tinted span-${provenance in PROVENANCES ? provenance : "mind"}`, title: label },
    h("span", { class: "tag" }, label),
    text,
  );
}

/** Which provenances a prompt holds, with their sizes; each switches its highlighting off and on. */
export function legend(messages, holder) {
  const sizes = new Map();
  for (const { spans } of messages)
    for (const { text, provenance } of spans)
      sizes.set(provenance, (sizes.get(provenance) ?? 0) + text.length);
  const absent = Object.keys(PROVENANCES).filter((name) => !sizes.has(name));
  const known = Object.keys(PROVENANCES).filter((name) => sizes.has(name));
  return h(
    "div",
    { class: "legend" },
    known.map((name) =>
      h(
        "label",
        { class: "check", title: PROVENANCES[name] },
        h("input", {
          type: "checkbox",
          checked: true,
          on: { change: (event) => holder.classList.toggle(`hide-${name}`, !event.target.checked) },
        }),
        h("span", { class: `swatch tinted span-${name}` }, name),
        h("span", { class: "faint small tabular" }, `${count(sizes.get(name))} chars`),
      ),
    ),
    h(
      "label",
      { class: "check" },
      h("input", {
        type: "checkbox",
        checked: true,
        on: { change: (event) => holder.classList.toggle("no-tags", !event.target.checked) },
      }),
      "sources",
    ),
    absent.length ? h("p", { class: "small soft" }, `Not in this prompt: ${absent.join(", ")}.`) : null,
  );
}
