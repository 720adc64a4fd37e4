// The episode page: the dialogue in two lanes, the ledger, decisions, beliefs, and what each agent saw.

import { button, chip, h, link } from "./dom.js";
import { count, duration, words } from "./format.js";
import { get } from "./data.js";
import { go, to } from "./router.js";
import { episodeView } from "./episode_view.js";
import { episodeAddress } from "./episodes.js";
import { outcomeChip } from "./marks.js";
import { runOf } from "./page_study.js";
import { titled } from "./shell.js";
import { limitsOf, steps } from "./transcript.js";

/** An episode with its steps, the flags by the turn that they are about, and its limits. */
export async function episodeOf(run, { condition, replicate, ordinal }) {
  const page = await get(`runs/${run}/lessons/${condition}/${replicate}/episodes/${ordinal}`);
  const limits = { ...limitsOf(page.events), ...page.limits };
  const all = steps(page.events, limits);
  const flags = new Map();
  for (const flag of all.flatMap((s) => s.flags))
    flags.set(flag.said, [...(flags.get(flag.said) ?? []), flag]);
  return {
    page,
    all,
    flags,
    limits,
    path: `runs/${run}/lessons/${condition}/${replicate}/episodes/${ordinal}`,
  };
}

/** The page. */
export async function episodePage(context) {
  const { run: id, condition, replicate } = context;
  const [run, episode] = await Promise.all([runOf(id), episodeOf(id, context)]);
  const { page } = episode;
  const beside = (ordinal) =>
    ordinal === null ? null : episodeAddress(id, { condition, replicate, ordinal });
  const partner =
    page.partners.find((p) => p.condition === run.conditions.find((c) => c.id === condition)?.baseline) ??
    page.partners[0];
  const view = episodeView(id, episode, context.query);
  const lesson = to(["run", id, "lesson", condition, replicate], { phase: page.row.phase });
  return {
    title: `${page.row.item || words(page.row.phase)}`,
    run: id,
    tab: "study",
    badges: run.badges,
    up: lesson,
    crumbs: [
      [run.run.name, to(["run", id])],
      [`${page.label}, replicate ${page.row.replicate + 1}`, to(["run", id, "lesson", condition, replicate])],
      [words(page.row.phase), lesson],
      [page.row.item || page.row.key, null],
    ],
    content: [head(page, beside, id), view.element],
    shown: view.shown,
    keysTitle: "Episode",
    keys: [
      ...view.keys,
      { keys: "]", does: "next episode", run: () => (page.next === null ? false : go(beside(page.next))) },
      {
        keys: "[",
        does: "previous episode",
        run: () => (page.previous === null ? false : go(beside(page.previous))),
      },
      {
        keys: "c",
        does: "side by side with another condition",
        run: () => (partner ? go(sideBySide(id, page, partner)) : false),
      },
    ],
  };
}

function sideBySide(run, page, partner) {
  const { condition, replicate, ordinal } = page.row;
  return to(["run", run, "compare"], {
    first: condition,
    second: partner.condition,
    replicate,
    a: ordinal,
    b: partner.ordinal,
  });
}

function head(page, beside, id) {
  const { item, row } = page;
  const step = (ordinal, text, key) =>
    ordinal === null
      ? button(text, () => {}, { disabled: true })
      : link(beside(ordinal), { class: "button", title: `${text} episode (${key})` }, text);
  return titled(
    item.question || `${words(row.phase)} ${row.item}`,
    null,
    [
      outcomeChip(row.outcome, row.failure, row.detail),
      page.control ? chip("plain", "○", `control ${page.control}`) : null,
      row.leak ? chip("leak", "⚑", row.leak > 1 ? `${row.leak} leaks` : "leak") : null,
      item.answer ? h("span", {}, "answer ", h("b", {}, item.answer)) : null,
      row.student ? h("span", {}, "student ", h("b", {}, row.student)) : null,
      row.round ? h("span", {}, `round ${row.round + 1}`) : null,
      h("span", {}, h("b", {}, count(row.tokens)), " tokens"),
      h("span", {}, duration(row.wall_s)),
    ],
    step(page.previous, "‹ Previous", "["),
    step(page.next, "Next ›", "]"),
    partners(page, id),
  );
}

function partners(page, id) {
  if (!page.partners.length) return null;
  const choice = h(
    "select",
    {
      "aria-label": "Side by side with another condition",
      on: {
        change: () => choice.value !== "" && go(sideBySide(id, page, page.partners[Number(choice.value)])),
      },
    },
    h("option", { value: "" }, "Side by side with …"),
    page.partners.map((p, i) => h("option", { value: String(i) }, p.label)),
  );
  return choice;
}
