// Belief against truth: what was believed about a student, step by step, and what was so.

import { h, replace, s, segmented } from "./dom.js";
import { number, probability, words } from "./format.js";
import { drawing, frame, linear, marker, xAxis, yAxis } from "./chart.js";
import { judged, tracks } from "./transcript.js";
import { turnText } from "./turns.js";

const WIDTH = 150;
const HEIGHT = 26;

/** The panel, for all steps of an episode and what the laboratory says of each belief (`points`); `panel.at(index)` moves
 *  its mark, `choose(index)` goes to a step. */
export function beliefPanel(all, points, choose) {
  const known = judged(all, points);
  const pairs = [
    ...new Set(all.flatMap((step) => step.beliefs.map((b) => JSON.stringify([b.agent, b.student])))),
  ].map((p) => JSON.parse(p));
  if (!pairs.length) return null;
  let [pair, at] = [pairs[0], all.length - 1];
  const holder = h("div", { class: "beliefs" });
  const draw = () =>
    replace(
      holder,
      pairs.length > 1
        ? segmented(
            "Whose belief",
            pairs.map((p) => [p.join("/"), `${p[0]} about ${p[1]}`]),
            pair.join("/"),
            (value) => {
              pair = pairs.find((p) => p.join("/") === value);
              draw();
            },
          )
        : h("p", { class: "small soft" }, `${pair[0]} about ${pair[1]}`),
      body(all, known, pair, at, choose),
    );
  draw();
  return { element: holder, at: (index) => ((at = index), draw()) };
}

function body(all, known, [agent, student], at, choose) {
  const mine = known.filter((p) => p.agent === agent && p.student === student);
  const said = mine.filter((p) => p.diagnosis_right !== null);
  const moment = said.at(-1)?.diagnosis_right
    ? said[said.findLastIndex((d) => !d.diagnosis_right) + 1]
    : null;
  const made = mine.filter((p) => p.p_correct !== null);
  return [
    said.length ? verdict(said, moment, all, choose) : null,
    group("Misconceptions", tracks(all, "misconceptions", student, agent), all, at, moment, choose),
    group("Skills", tracks(all, "skills", student, agent), all, at, moment, choose),
    h(
      "p",
      { class: "small soft" },
      "Line: belief. Band: truth, at the top where it is so, at the bottom where it is not. Click a line to go to its turn.",
    ),
    made.length ? expected(made, all, at, choose) : null,
  ];
}

function verdict(said, moment, all, choose) {
  const first = moment ? all[moment.step] : null;
  const held = all[said.at(-1).step].beliefs.at(-1).truth?.misconceptions ?? [];
  return h(
    "p",
    { class: `moment ${moment ? "good" : "bad"}` },
    moment
      ? [
          h("strong", {}, "✓ Right diagnosis from turn "),
          h(
            "button",
            { type: "button", class: "quiet inline", on: { click: () => choose(first.index) } },
            turnText(first),
          ),
          `: ${moment.named ? words(moment.named) : "no misconception"}.`,
        ]
      : [
          h("strong", {}, "✗ No right diagnosis. "),
          `The last one named ${said.at(-1).named ? words(said.at(-1).named) : "nothing"}; the truth was ${held.map(words).join(", ") || "no misconception"}.`,
        ],
  );
}

function group(title, found, all, at, moment, choose) {
  if (!found.size) return null;
  const x = linear([0, Math.max(1, all.length - 1)], [4, WIDTH - 4]);
  return h(
    "section",
    {},
    h("h3", {}, title),
    h(
      "table",
      { class: "tracks" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["name", "truth", "over turns", "now"].map((t) => h("th", { scope: "col" }, t)),
        ),
      ),
      h(
        "tbody",
        {},
        [...found].map(([name, points]) => {
          const now = points.findLast((p) => p.step <= at) ?? null;
          const truth = (now ?? points[0]).truth;
          return h(
            "tr",
            {},
            h("th", { scope: "row", title: name }, words(name)),
            h(
              "td",
              { class: truth === true ? "true" : "untrue" },
              truth === null ? "–" : truth ? "✓ yes" : "✗ no",
            ),
            h("td", {}, track(name, points, x, at, all, moment, choose)),
            h("td", { class: "number" }, now ? probability(now.p) : "–"),
          );
        }),
      ),
    ),
  );
}

/** One belief as a stepped line; the band at the top or bottom is the truth at that time. */
function track(name, points, x, at, all, moment, choose) {
  const y = (p) => HEIGHT - 4 - p * (HEIGHT - 8);
  const end = x(all.length - 1);
  let path = "";
  points.forEach((p, i) => (path += `${i ? "H" : "M"}${x(p.step)}${i ? `V${y(p.p)}` : `,${y(p.p)}`}`));
  const svg = s(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      class: "track",
      role: "img",
      "aria-label": `${words(name)}: ${points.map((p) => probability(p.p)).join(", ")}`,
    },
    points.map((p, i) =>
      p.truth === null
        ? null
        : s("rect", {
            class: `truth ${p.truth ? "is" : "not"}`,
            x: x(p.step),
            width: Math.max(1, (points[i + 1] ? x(points[i + 1].step) : end) - x(p.step)),
            y: p.truth ? 0 : HEIGHT - 4,
            height: 4,
          }),
    ),
    moment
      ? s("line", { class: "moment-line", x1: x(moment.step), x2: x(moment.step), y1: 0, y2: HEIGHT })
      : null,
    s("path", { class: "stroke", d: `${path}H${end}` }),
    s("line", { class: "now", x1: x(at), x2: x(at), y1: 0, y2: HEIGHT }),
  );
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    choose(
      Math.max(
        0,
        Math.min(all.length - 1, Math.round(((event.clientX - box.left) / box.width) * (all.length - 1))),
      ),
    );
  });
  return svg;
}

function expected(made, all, at, choose) {
  const scored = made.filter((p) => p.outcome !== null);
  const soFar = scored.filter((p) => p.step <= at).at(-1)?.brier_so_far ?? null;
  const columns = [
    { title: "turn", number: true },
    { title: "p(correct)", number: true },
    { title: "expected" },
    { title: "answered" },
    { title: "right" },
    { title: "Brier so far", number: true },
  ];
  const rows = made.map((p) => [
    turnText(all[p.step]),
    probability(p.p_correct),
    p.predicted_answer ?? "–",
    p.answer ?? "–",
    p.outcome === null ? "–" : p.outcome ? "yes" : "no",
    number(p.brier_so_far, 3),
  ]);
  return h(
    "section",
    {},
    h("h3", {}, "Next answers"),
    frame({
      title: `Brier ${number(soFar, 3)} so far`,
      note: "● believed p(correct), ✓ ✗ what came, line: Brier so far",
      name: "beliefs",
      numbers: { columns, rows },
      draw: (width) => expectedDrawing(width, made, scored, all, at, choose),
    }),
  );
}

/** What was believed, what came, and the distance between them. */
function expectation(p, x, y, all) {
  const at = x(p.step);
  const came = p.outcome === null ? "no answer came" : p.outcome ? "right" : "wrong";
  const sign = {
    class: `outcome ${p.outcome ? "good" : "bad"}`,
    x: at,
    y: y(Number(p.outcome)) + (p.outcome ? -3 : 11),
    "text-anchor": "middle",
  };
  const end = p.outcome === null ? p.p_correct : Number(p.outcome);
  return s(
    "g",
    {},
    s("line", { class: "error-line", x1: at, x2: at, y1: y(p.p_correct), y2: y(end) }),
    marker(0, at, y(p.p_correct), 4),
    p.outcome === null ? null : s("text", sign, p.outcome ? "✓" : "✗"),
    s("title", {}, `turn ${turnText(all[p.step])}: p ${probability(p.p_correct)}, ${came}`),
  );
}

function expectedDrawing(width, made, scored, all, at, choose) {
  const height = 170;
  const x = linear([0, Math.max(1, all.length - 1)], [38, width - 12]);
  const y = linear([0, 1], [height - 44, 22]);
  const svg = drawing(
    width,
    height,
    `Expected and actual answers. Brier score ${number(scored.at(-1)?.brier_so_far ?? null, 3)} over ${scored.length}.`,
    yAxis(y, { left: 38, right: width - 12, label: "p(correct)", format: (v) => number(v, 1), wanted: 2 }),
    xAxis(x, {
      y: height - 44,
      label: "turn",
      marks: all
        .filter((_, i) => i % Math.ceil(all.length / 7) === 0)
        .map((step) => [x(step.index), turnText(step)]),
    }),
    s(
      "g",
      { class: "line series-4" },
      s("path", {
        class: "stroke thin",
        d: scored.map((p, i) => `${i ? "L" : "M"}${x(p.step)},${y(p.brier_so_far)}`).join(""),
      }),
    ),
    made.map((p) => expectation(p, x, y, all)),
    s("line", { class: "now", x1: x(at), x2: x(at), y1: 22, y2: height - 44 }),
  );
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * width - 38) / (width - 50);
    choose(Math.max(0, Math.min(all.length - 1, Math.round(share * (all.length - 1)))));
  });
  return svg;
}
