// A list of episodes: one row each, read page by page as the reader scrolls.

import { button, chip, h, link, replace, scroller } from "./dom.js";
import { count, number, plural, words } from "./format.js";
import { rowsBefore, to } from "./router.js";
import { outcomeChip } from "./marks.js";

/** The address of an episode. */
export function episodeAddress(run, { condition, replicate, ordinal }, query = {}) {
  return to(["run", run, "lesson", condition, replicate, "episode", ordinal], query);
}

const PAGE = 100;
const COLUMNS = ["item", "phase", "student", "answers", "outcome", "spent", "flags", "p(correct)", "tokens"];

/** A growing table. `source`: async iterator over pages {episodes, total}; `labels`: condition -> label, where rows are of several. */
export function episodeList(run, source, { labels = null, unit = "episode" } = {}) {
  const body = h("tbody");
  const status = h("p", { class: "soft small", role: "status" }, "Reading …");
  const more = button("Show more", () => load(), { class: "more", hidden: true });
  let [shown, scanned, busy] = [0, 0, false];
  const load = async () => {
    if (busy) return;
    busy = true;
    const wanted = Math.max(shown + PAGE, shown ? 0 : rowsBefore());
    let step = { done: false };
    while (shown < wanted && !step.done) {
      step = await source.next();
      if (step.done) break;
      for (const episode of step.value.episodes) body.append(episodeRow(run, episode, labels));
      shown += step.value.episodes.length;
      scanned += step.value.scanned ?? step.value.episodes.length;
      replace(
        status,
        `${plural(shown, unit)}${step.value.total !== undefined && step.value.total !== shown ? ` of ${count(step.value.total)}` : ""} …`,
      );
      if (!step.value.next) step = { done: true };
    }
    replace(status, shown ? `${plural(shown, unit)}${step.done ? "" : " so far"}` : `No ${unit} fits.`);
    more.hidden = step.done;
    busy = false;
  };
  const seen = new IntersectionObserver(
    (entries) => entries.some((e) => e.isIntersecting) && !more.hidden && load(),
    { rootMargin: "600px" },
  );
  seen.observe(more);
  const columns = labels ? ["condition", ...COLUMNS] : COLUMNS;
  const element = h(
    "div",
    {},
    status,
    scroller(
      "Episodes",
      h(
        "table",
        { class: "list" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            columns.map((c) =>
              h("th", { scope: "col", class: c === "tokens" || c === "p(correct)" ? "number" : null }, c),
            ),
          ),
        ),
        body,
      ),
    ),
    more,
  );
  return { element, loaded: load() };
}

function episodeRow(run, episode, labels) {
  return h(
    "tr",
    {},
    labels
      ? h(
          "td",
          {},
          link(
            to(["run", run, "lesson", episode.condition, episode.replicate]),
            {},
            labels.get(episode.condition) ?? episode.condition,
          ),
          h("div", { class: "small soft" }, `replicate ${episode.replicate + 1}`),
        )
      : null,
    h(
      "td",
      {},
      link(
        episodeAddress(run, episode),
        {
          "data-row": true,
          "data-focus": `episode-${episode.condition}-${episode.replicate}-${episode.ordinal}`,
        },
        episode.item || words(episode.phase),
      ),
    ),
    h("td", { class: "soft" }, words(episode.phase), episode.round ? `, round ${episode.round + 1}` : ""),
    h("td", { class: "soft" }, episode.student || "–"),
    h("td", {}, answers(episode)),
    h(
      "td",
      {},
      episode.outcome === "end"
        ? h("span", { class: "soft" }, "end")
        : outcomeChip(episode.outcome, episode.failure, episode.detail),
    ),
    h(
      "td",
      { class: "soft tabular" },
      Object.entries(episode.spent)
        .map(([unit, n]) => `${words(unit)} ${n}`)
        .join(", ") || "–",
    ),
    h(
      "td",
      {},
      h(
        "span",
        { class: "marks" },
        episode.leak ? chip("leak", "⚑", episode.leak > 1 ? `${episode.leak} leaks` : "leak") : null,
        episode.vetoes ? chip("warn", "⊘", plural(episode.vetoes, "veto", "vetoes")) : null,
        episode.diagnosed === true
          ? chip("good", "✓", "diagnosed")
          : episode.diagnosed === false
            ? chip("bad", "✗", "misdiagnosed")
            : null,
      ),
    ),
    h("td", { class: "number" }, episode.p === null ? "–" : number(episode.p)),
    h("td", { class: "number" }, count(episode.tokens)),
  );
}

/** First and last answer: right or wrong, by sign and word. */
function answers({ first, right, answers: n, gain }) {
  const sign = (ok) => (ok === null ? "?" : ok ? "✓" : "✗");
  if (!n) return h("span", { class: "soft" }, "–");
  if (n === 1 || first === null)
    return chip(
      right ? "good" : right === null ? "warn" : "bad",
      sign(right),
      right ? "right" : right === null ? "not judged" : "wrong",
    );
  return h(
    "span",
    { class: "marks" },
    chip(
      right ? "good" : "bad",
      `${sign(first)} → ${sign(right)}`,
      right ? (first ? "right" : "rectified") : first ? "broken" : "wrong",
      `${plural(n, "judged answer")}${gain === null ? "" : `, gain ${gain}`}`,
    ),
  );
}
