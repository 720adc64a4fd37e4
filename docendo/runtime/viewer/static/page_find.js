// Find: words in all messages, and episodes by an expression over what happened in them.

import { button, h, link, replace, scroller, select, table } from "./dom.js";
import { plural, words } from "./format.js";
import { get } from "./data.js";
import { amend, rowsBefore, to } from "./router.js";
import { episodeAddress, episodeList } from "./episodes.js";
import { filter, search } from "./finding.js";
import { runOf } from "./page_study.js";
import { titled } from "./shell.js";

/** The page. */
export async function findPage(context) {
  const { run: id, query } = context;
  const [run, language] = await Promise.all([runOf(id), get("filters")]);
  const label = new Map(run.conditions.map((c) => [c.id, c.label]));
  const results = h("div", { class: "results" });
  const state = {
    q: query.q ?? "",
    where: query.where ?? "",
    condition: query.condition ?? "",
    phase: query.phase ?? "",
  };
  const wrong = h("div", { class: "help wrong", role: "alert", hidden: true });
  const show = (what) => {
    amend(state);
    wrong.hidden = true;
    if (what === "words") return state.q ? showHits(id, state.q, results) : replace(results);
    return state.where || state.condition || state.phase
      ? showEpisodes(id, state, label, results, wrong)
      : replace(results);
  };
  const shown = show(state.q ? "words" : "episodes");
  if (context.kept) await shown;
  return {
    title: "Find",
    run: id,
    tab: "find",
    badges: run.badges,
    up: to(["run", id]),
    crumbs: [
      [run.run.name, to(["run", id])],
      ["Find", null],
    ],
    content: [
      titled(
        "Find",
        "Words in every message of the run, or episodes by what happened in them. The address keeps what you asked.",
      ),
      h(
        "div",
        { class: "search-form" },
        wordsForm(state, show),
        expressionForm(state, show, language, run, wrong),
      ),
      names(language),
      results,
    ],
  };
}

function wordsForm(state, show) {
  const field = h("input", {
    type: "search",
    id: "find-words",
    value: state.q,
    placeholder: "borrow, “805”, a phrase …",
    "data-find": true,
    "data-autofocus": !state.where || null,
  });
  return h(
    "form",
    {
      class: "line",
      role: "search",
      on: {
        submit: (event) => (
          event.preventDefault(),
          Object.assign(state, { q: field.value.trim(), where: "", condition: "", phase: "" }),
          show("words")
        ),
      },
    },
    h("label", { for: "find-words" }, "Words"),
    field,
    h("button", { type: "submit" }, "Search"),
  );
}

function expressionForm(state, show, language, run, wrong) {
  const field = h("input", {
    type: "text",
    id: "find-where",
    class: "expression",
    value: state.where,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: language.examples[0] ?? "gain < 0 and not leak",
  });
  const submit = () => (Object.assign(state, { where: field.value.trim(), q: "" }), show("episodes"));
  const example = (text) => button(text, () => ((field.value = text), submit()), { class: "quiet" });
  return h(
    "form",
    { class: "line", on: { submit: (event) => (event.preventDefault(), submit()) } },
    h("label", { for: "find-where" }, "Episodes where"),
    field,
    h("button", { type: "submit" }, "Filter"),
    wrong,
    h(
      "div",
      { class: "help row" },
      select(
        "Condition",
        [["", "any"], ...run.conditions.map((c) => [c.id, c.label])],
        state.condition,
        (v) => ((state.condition = v), submit()),
      ),
      select(
        "Phase",
        [["", "any"], ...run.phases.map((p) => [p.id, words(p.id)])],
        state.phase,
        (v) => ((state.phase = v), submit()),
      ),
    ),
    h(
      "div",
      { class: "help examples" },
      h("span", {}, "For example"),
      language.examples.slice(0, 4).map(example),
    ),
  );
}

function names(language) {
  const kinds = {
    episode: "Of an episode",
    turn: "Of a turn, for example any(t.leak for t in turns)",
    function: "Functions",
  };
  return h(
    "details",
    { class: "names" },
    h("summary", {}, "Names that a filter knows"),
    h("p", { class: "lead" }, language.grammar),
    Object.entries(kinds).map(([kind, title]) =>
      scroller(
        title,
        table(
          title,
          [{ title: "name" }, { title: "type" }, { title: "meaning" }],
          language.names
            .filter((n) => n.of === kind)
            .map((n) => [h("code", {}, n.name), n.type, n.description]),
        ),
      ),
    ),
  );
}

async function showHits(run, text, results) {
  const source = search(run, text)[Symbol.asyncIterator]();
  const list = h("ol", { class: "hits", "aria-label": "Messages found" });
  const status = h("p", { class: "soft", role: "status" }, "Searching …");
  const more = button("Show more", () => load(), { class: "more", hidden: true });
  let shown = 0;
  const load = async () => {
    try {
      const { value: page, done } = await source.next();
      if (done) return void (more.hidden = true);
      list.append(...page.hits.map((hit) => h("li", {}, hitView(run, hit))));
      shown += page.hits.length;
      more.hidden = !page.next;
      replace(
        status,
        shown
          ? [
              h("b", {}, page.total === null ? plural(shown, "message") : plural(page.total, "message")),
              page.more ? " or more" : "",
              ` with “${text}”`,
            ]
          : `No message holds “${text}”.`,
      );
    } catch (error) {
      replace(status, error.message, " ", error.suggestion ?? "");
    }
  };
  replace(results, status, list, more);
  do await load();
  while (!more.hidden && shown < rowsBefore());
}

function hitView(run, hit) {
  const at = hit.event;
  return link(
    episodeAddress(run, hit, { turn: hit.turn }),
    {
      class: "hit-row",
      "data-row": true,
      "data-focus": `hit-${hit.condition}-${hit.replicate}-${hit.ordinal}-${at}`,
    },
    h(
      "span",
      { class: "where" },
      h("b", {}, hit.agent),
      words(hit.act),
      h("span", {}, hit.label),
      h("span", {}, `replicate ${hit.replicate + 1}`),
      h("span", {}, `${words(hit.phase)} ${hit.item}`),
      h("span", {}, `turn ${hit.turn}`),
    ),
    h("p", {}, marked(hit.snippet, hit.marks)),
  );
}

function marked(text, marks) {
  const letters = Array.from(text);
  const parts = [];
  let from = 0;
  for (const [start, end] of marks) {
    if (start < from) continue;
    parts.push(letters.slice(from, start).join(""), h("mark", {}, letters.slice(start, end).join("")));
    from = end;
  }
  return [...parts, letters.slice(from).join("")];
}

async function showEpisodes(run, state, label, results, wrong) {
  const list = episodeList(run, filter(run, state)[Symbol.asyncIterator](), { labels: label });
  replace(results, h("div", { class: "block" }, list.element));
  try {
    await list.loaded;
  } catch (error) {
    replace(results);
    wrong.hidden = false;
    replace(
      wrong,
      h("strong", {}, error.message),
      error.column ? h("pre", {}, `${state.where}\n${" ".repeat(error.column - 1)}^`) : null,
      error.suggestion ? h("span", {}, error.suggestion) : null,
    );
  }
}
