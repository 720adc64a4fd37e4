// The start: which page shows which place, and the keys that work everywhere.

import { copy, h, replace } from "./dom.js";
import { exported, forget, get } from "./data.js";
import { go, here, onLeave, place, refresh, start, to } from "./router.js";
import { bind, listen, sheet } from "./keys.js";
import { comparePage } from "./page_compare.js";
import { episodePage } from "./page_episode.js";
import { errorsPage } from "./page_errors.js";
import { findPage } from "./page_find.js";
import { graphsPage } from "./page_graphs.js";
import { lessonPage } from "./page_lesson.js";
import { livePage } from "./page_live.js";
import { storePage } from "./page_store.js";
import { studyPage } from "./page_study.js";
import { flip, header, problem, startTheme, tabAddress, tabs } from "./shell.js";

place("store", "/", storePage);
place("study", "/run/:run", studyPage);
place("lesson", "/run/:run/lesson/:condition/:replicate", lessonPage);
place("episode", "/run/:run/lesson/:condition/:replicate/episode/:ordinal", episodePage);
place("compare", "/run/:run/compare", comparePage);
place("find", "/run/:run/find", findPage);
place("errors", "/run/:run/errors", errorsPage);
place("live", "/run/:run/live", livePage);
place("graphs", "/run/:run/graphs", graphsPage);

/** Shows the place. A page is {title, crumbs, tab?, run?, badges?, content, up?, keys?}. */
async function show(context) {
  const main = document.getElementById("main");
  const late = setTimeout(
    () => replace(main, h("p", { class: "waiting", role: "status" }, "Reading the store …")),
    250,
  );
  let page;
  try {
    if (!context.render)
      throw { message: `There is no page at ${context.path}.`, suggestion: "The link may be incomplete." };
    page = await context.render(context);
  } catch (error) {
    if (!error.code && error.stack) console.error(error);
    page = {
      title: "Not here",
      crumbs: context.run ? [[context.run, to(["run", context.run])]] : [],
      run: context.run ?? null,
      content: problem(error),
    };
  }
  clearTimeout(late);
  if (here() !== context) return;
  document.title = `${page.title} · docendo`;
  header({ badges: {}, ...page });
  measure();
  replace(main, page.content);
  main.dataset.place = location.hash;
  if (page.keys?.length) onLeave(bind(page.keysTitle ?? "This page", page.keys));
  context.up = page.up ?? "#/";
  page.shown?.();
}

/** Tells the style sheet how much of the window the header keeps. */
function measure() {
  const top = document.getElementById("top");
  const kept = getComputedStyle(top).position === "sticky" ? top.offsetHeight : 0;
  document.documentElement.style.setProperty("--top-height", `${kept}px`);
}

function tabKeys() {
  return tabs().map(([name, text, keys]) => ({
    keys,
    does: text.toLowerCase(),
    run: () => (here().run ? go(tabAddress(here().run, name)) : false),
  }));
}

function rows(step) {
  const all = [...document.querySelectorAll("main [data-row]")].filter((e) => e.getClientRects().length);
  if (!all.length) return false;
  const at = all.indexOf(document.activeElement);
  const next =
    all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + step))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

bind("Everywhere", [
  { keys: "?", does: "this sheet", run: sheet },
  {
    keys: "/",
    does: "to the search field",
    run: () => {
      const field = document.querySelector("main [data-find]");
      if (field) field.focus();
      else if (here().run) go(to(["run", here().run, "find"]));
    },
  },
  {
    keys: "j or ArrowDown",
    does: "next row",
    run: (event) =>
      event.key === "ArrowDown" && !document.activeElement?.matches("[data-row]") ? false : rows(1),
  },
  {
    keys: "k or ArrowUp",
    does: "previous row",
    run: (event) =>
      event.key === "ArrowUp" && !document.activeElement?.matches("[data-row]") ? false : rows(-1),
  },
  { keys: "u", does: "up: to what this belongs to", run: () => go(here().up ?? "#/") },
  ...tabKeys(),
  { keys: "g r", does: "all runs", run: () => go("#/") },
  { keys: "t", does: "dark or light", run: () => flip() },
  { keys: "y", does: "copy a link to this place", run: () => copy(location.href, "the link to this place") },
  ...(exported ? [] : [{ keys: "r", does: "read the store again", run: () => (forget(), refresh()) }]),
  {
    keys: "Escape",
    does: "close what is open; leave a field",
    run: () => {
      if (document.activeElement?.matches("input, select, textarea")) document.activeElement.blur();
      return false;
    },
  },
]);

/** An export opens on its only run. */
async function begin() {
  if (exported && !location.hash) {
    const { runs } = await get("store");
    if (runs.length) history.replaceState(null, "", to(["run", runs[0].id]));
  }
  await start(show);
}

startTheme();
listen();
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
addEventListener("resize", measure);
document.documentElement.dataset.ready = "true";
begin();
