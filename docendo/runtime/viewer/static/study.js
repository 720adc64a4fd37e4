// The study page: conditions against measures, the curves, and what follows from them.

import { chip, h, link, section } from "./dom.js";
import { number, plural, words } from "./format.js";

/** The plan as a strip of phases. `phases`: [{phase, kind, ...}]; `text(phase)`: its second line; `href(phase)`. */
export function planStrip(phases, { text = () => "", href = () => null, chosen = null } = {}) {
  return h(
    "ol",
    { class: "plan", "aria-label": "The plan" },
    phases.map((phase) => {
      const inner = [h("strong", {}, phase.phase), h("span", { class: "soft" }, text(phase) || phase.kind)];
      const looks = {
        class: `step ${phase.kind} ${phase.phase === chosen ? "chosen" : ""}`,
        title: phase.kind,
      };
      const address = href(phase);
      return h(
        "li",
        {},
        address
          ? link(address, { ...looks, "aria-current": phase.phase === chosen ? "true" : null }, inner)
          : h("span", looks, inner),
      );
    }),
  );
}

const FIRST = 4;

function list(sentences) {
  return h(
    "ul",
    { class: "findings" },
    sentences.map((text) => h("li", {}, text.replaceAll("`", ""))),
  );
}

/** The key findings, the fidelity of the students, and the warnings. */
export function findings({ report }) {
  return [
    report.warnings.map((text) =>
      h("p", { class: "notice" }, h("span", { "aria-hidden": "true" }, "!"), text),
    ),
    report.findings.length
      ? section(
          "Key findings",
          { class: "block" },
          list(report.findings.slice(0, FIRST)),
          report.findings.length > FIRST
            ? h(
                "details",
                {},
                h("summary", {}, plural(report.findings.length - FIRST, "more finding")),
                list(report.findings.slice(FIRST)),
              )
            : null,
        )
      : null,
    report.fidelity.length
      ? section(
          "Are the students as they should be?",
          { class: "block" },
          h(
            "div",
            { class: "row" },
            report.fidelity.map((f) =>
              chip(
                f.limit === null ? "plain" : f.holds ? "good" : "bad",
                f.limit === null ? "·" : f.holds ? "✓" : "✗",
                `${words(f.measure)} ${number(f.mean)}${f.limit === null ? "" : ` (${f.at_least ? "at least" : "at most"} ${f.limit})`}`,
                `${plural(f.n, "answer")} before anybody taught them`,
              ),
            ),
          ),
        )
      : null,
  ];
}
