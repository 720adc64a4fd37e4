// Searching words and filtering episodes: by the server, or in an exported file by this page itself.

import { documentPaths, exported, get, pages } from "./data.js";
import { compile } from "./expression.js";

const HITS = 50;
const AROUND = 90;

/** Pages of hits {hits, next, total, more}, one after the other. */
export async function* search(run, words) {
  if (!exported) {
    yield* pages("search", { q: words, run, limit: HITS });
    return;
  }
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let hits = [];
  let total = 0;
  for (const path of documentPaths(`runs/${run}/lessons/`, /\/episodes\/\d+$/)) {
    const found = hitsIn(await get(path), wanted);
    total += found.length;
    hits.push(...found);
    if (hits.length >= HITS) {
      yield { hits, next: "more", total: null, more: true };
      hits = [];
    }
  }
  yield { hits, next: null, total, more: false };
}

function hitsIn(page, wanted) {
  return page.events.flatMap((event, index) => {
    if (event.kind !== "message" || !wanted.length) return [];
    const { text } = event.message;
    const low = text.toLowerCase();
    if (!wanted.every((word) => low.includes(word))) return [];
    const first = Math.max(0, low.indexOf(wanted[0]) - AROUND);
    const snippet = text.slice(first, first + 3 * AROUND);
    return [
      {
        run: page.run,
        condition: page.row.condition,
        label: page.label,
        replicate: page.row.replicate,
        ordinal: page.row.ordinal,
        phase: page.row.phase,
        item: page.row.item,
        event: index,
        turn: event.turn,
        agent: event.agent,
        act: event.act,
        snippet,
        marks: marksIn(snippet, wanted),
      },
    ];
  });
}

/** `[start, end)` of the words in a text, in code points as the server counts them. */
function marksIn(text, wanted) {
  const low = Array.from(text.toLowerCase());
  const found = [];
  for (const word of wanted.map((w) => Array.from(w))) {
    for (let i = 0; i + word.length <= low.length; i++)
      if (word.every((c, j) => low[i + j] === c)) found.push([i, i + word.length]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}

/** Pages of episodes of a run that fit an expression, a condition and a phase. */
export async function* filter(run, { where, condition, phase, outcome }) {
  if (!exported) {
    yield* pages(`runs/${run}/episodes`, { where, condition, phase, outcome, limit: 200 });
    return;
  }
  const { names } = await get("filters");
  const of = (kind) => names.filter((n) => n.of === kind).map((n) => n.name);
  const fits = where ? compile(where, of("episode"), of("turn")) : () => true;
  const lists = documentPaths(`runs/${run}/lessons/`, /\/episodes$/);
  for (const [i, path] of lists.entries()) {
    const { episodes } = await get(path);
    const rows = where?.includes(".text")
      ? await Promise.all(episodes.map((e) => withTexts(path, e)))
      : episodes;
    const kept = rows.filter(
      (row) =>
        (!condition || row.condition === condition) &&
        (!phase || row.phase === phase) &&
        (!outcome || row.outcome === outcome) &&
        fits(row),
    );
    yield { episodes: kept, scanned: rows.length, next: i < lists.length - 1 ? "more" : null };
  }
}

async function withTexts(list, row) {
  const { events } = await get(`${list}/${row.ordinal}`);
  return { ...row, turns: row.turns.map((turn) => ({ ...turn, text: events[turn.event].message.text })) };
}
