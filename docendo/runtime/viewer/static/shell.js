// What stands around every page: the header with the way back, the tabs of a run, the theme, and what is said when
// there is nothing to show.

import { announce, button, copy, h, link, replace, s } from "./dom.js";
import { exported } from "./data.js";
import { to } from "./router.js";
import { sheet } from "./keys.js";

const TABS = [
  ["study", "Study", "g s"],
  ["find", "Find", "g f"],
  ["compare", "Compare", "g c"],
  ["errors", "Errors & missing", "g e"],
  ["graphs", "Graphs", "g g"],
  ["live", "Live", "g v"],
];

/** The tabs that a run has here: an export is not live. */
export function tabs() {
  return TABS.filter(([name]) => !(exported && name === "live"));
}

/** The address of a run's tab. */
export function tabAddress(run, name) {
  return name === "study" ? to(["run", run]) : to(["run", run, name]);
}

/** Fills the header. `crumbs`: [[text, address or null], ...]; `run`: {id, errors?} where the page is about one. */
export function header({ crumbs, run, tab, badges = {} }) {
  replace(
    document.getElementById("top"),
    link("#/", { class: "brand", "aria-label": "docendo: all runs" }, brand(), "docendo"),
    h(
      "nav",
      { "aria-label": "Where you are", class: "way" },
      h(
        "ol",
        { class: "crumbs" },
        crumbs.map(([text, address], i) =>
          h(
            "li",
            {},
            address
              ? link(address, { title: text }, text)
              : h("span", { title: text, "aria-current": i === crumbs.length - 1 ? "page" : null }, text),
          ),
        ),
      ),
    ),
    h(
      "div",
      { class: "top-tools" },
      button("Copy link", () => copy(location.href, "the link to this place"), {
        class: "quiet",
        title: "Copy a link to this place (y)",
      }),
      button(themeName() === "dark" ? "☀ Light" : "☾ Dark", (event) => flip(event.currentTarget), {
        class: "quiet",
        title: "Dark or light (t)",
        id: "theme",
      }),
      button("?", sheet, { class: "quiet", title: "Keys (?)", "aria-label": "Keys" }),
    ),
    run
      ? h(
          "nav",
          { class: "tabs", "aria-label": "Parts of the run" },
          tabs().map(([name, text]) =>
            link(
              tabAddress(run, name),
              { "aria-current": name === tab ? "page" : null },
              text,
              badges[name]
                ? h("span", { class: `badge ${name === "errors" ? "bad" : ""}` }, badges[name])
                : null,
            ),
          ),
        )
      : null,
  );
}

function brand() {
  return s(
    "svg",
    { viewBox: "0 0 24 24", "aria-hidden": "true" },
    s("path", {
      class: "brand-teacher",
      d: "M3 4h11a3 3 0 0 1 3 3v3a3 3 0 0 1-3 3H8l-4 3.4V13a3 3 0 0 1-1-2V4z",
    }),
    s("path", { class: "brand-student", d: "M19 10h2v11l-3.6-3H12a3 3 0 0 1-2.8-2" }),
  );
}

function themeName() {
  return document.documentElement.dataset.theme;
}

/** Takes the theme that was chosen before, or the system's. */
export function startTheme() {
  let chosen = null;
  try {
    chosen = localStorage.getItem("docendo-theme");
  } catch {
    // Storage is closed to some `file://` pages; the system's theme will do.
  }
  document.documentElement.dataset.theme =
    chosen ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

/** Dark to light and back. */
export function flip(control = document.getElementById("theme")) {
  const theme = themeName() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("docendo-theme", theme);
  } catch {
    // Not remembered then.
  }
  if (control) replace(control, theme === "dark" ? "☀ Light" : "☾ Dark");
  announce(`${theme === "dark" ? "Dark" : "Light"} theme.`);
}

/** A page that says what is wrong and what to do. `error`: {message, suggestion?, code?}. */
export function problem(error, title = "This cannot be shown") {
  return h(
    "div",
    { class: "problem bad", role: "alert" },
    h("h1", { tabindex: "-1" }, title),
    h("p", {}, error.message ?? String(error)),
    error.suggestion ? h("p", { class: "soft" }, error.suggestion) : null,
    h("p", {}, link("#/", {}, "All runs of this store")),
  );
}

/** The head of a page. */
export function titled(title, lead, facts, ...tools) {
  return h(
    "div",
    { class: "title" },
    h(
      "div",
      {},
      h("h1", { tabindex: "-1" }, title),
      lead ? h("p", { class: "lead" }, lead) : null,
      facts ? h("div", { class: "facts" }, facts) : null,
    ),
    tools.length ? h("div", { class: "row" }, tools) : null,
  );
}
