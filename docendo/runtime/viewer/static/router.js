// Where the reader is: the hash of the address holds the place (`#/run/...`) and the state of the view (`?turn=3`).
// Going back keeps the place: each entry of the history remembers how far its page was scrolled, and what had the focus.

const places = [];
let current = null;
let leaving = [];
let show = () => {};
let entry = "";

/** Adds a page: `pattern` such as `/run/:run/episode/:episode`, `render(context)` -> element or promise of one. */
export function place(name, pattern, render) {
  const names = [];
  const source = pattern.replace(/:(\w+)/g, (_, part) => (names.push(part), "([^/]+)"));
  places.push({ name, render, names, expression: new RegExp(`^${source}$`) });
}

/** The address of a place. Parts are encoded; empty values of the query are left out. */
export function to(parts, query = {}) {
  const path = parts.map((part) => encodeURIComponent(String(part))).join("/");
  const pairs = Object.entries(query).filter(
    ([, v]) => v !== null && v !== undefined && v !== "" && v !== false,
  );
  const text = pairs.map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(String(v))}`).join("&");
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** What the address says now. */
export function parse(hash = location.hash) {
  const [path, text = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const query = Object.fromEntries(new URLSearchParams(text));
  for (const { name, render, names, expression } of places) {
    const match = expression.exec(path || "/");
    if (match) {
      const values = names.map((part, i) => [part, decoded(match[i + 1])]);
      return { name, render, path: path || "/", query, ...Object.fromEntries(values) };
    }
  }
  return { name: "nowhere", render: null, path, query };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** How many rows of lists stood here before, where the reader comes back. */
export function rowsBefore() {
  return current?.kept?.rows ?? 0;
}

/** Goes somewhere, leaving the present place in the history. */
export function go(address) {
  remember();
  entry = fresh();
  history.pushState({ key: entry }, "", address);
  return arrive(null);
}

/** Changes the query of the present place without reloading it, and without a new entry in the history. */
export function amend(changes) {
  const { path, query } = parse();
  const merged = { ...query, ...changes };
  const parts = path.split("/").filter(Boolean).map(decoded);
  history.replaceState(history.state, "", to(parts, merged));
  if (current)
    current.query = Object.fromEntries(
      Object.entries(merged).filter(([, v]) => v !== null && v !== "" && v !== false && v !== undefined),
    );
}

/** Renders the present place anew, keeping the scroll position. */
export function refresh() {
  remember();
  return arrive(recall());
}

/** Runs `action` when the reader leaves the present page. */
export function onLeave(action) {
  leaving.push(action);
}

/** The present place. */
export function here() {
  return current;
}

/** Starts: `render(context)` shows a page and returns a promise of its being there. */
export function start(render) {
  show = render;
  history.scrollRestoration = "manual";
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest?.("a[href^='#']");
    if (!anchor || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.button)
      return;
    const href = anchor.getAttribute("href");
    if (!href.startsWith("#/")) return;
    event.preventDefault();
    if (anchor.dataset.replace) (history.replaceState(history.state, "", href), arrive(null));
    else go(href);
  });
  addEventListener("popstate", () => {
    remember();
    enter();
    arrive(recall());
  });
  addEventListener("pagehide", remember);
  enter();
  return arrive(recall());
}

function enter() {
  if (!history.state?.key) history.replaceState({ key: fresh() }, "", location.hash || "#/");
  entry = history.state.key;
}

async function arrive(kept) {
  for (const action of leaving.splice(0)) action();
  current = { ...parse(), kept };
  const mine = current;
  await show(current);
  if (mine !== current) return;
  if (kept) scrollTo(0, kept.y);
  else if (!document.querySelector("[data-arrive]")) scrollTo(0, 0);
  const target = kept?.focus && document.querySelector(`[data-focus="${CSS.escape(kept.focus)}"]`);
  (target || document.querySelector("[data-autofocus]") || document.querySelector("main h1"))?.focus({
    preventScroll: true,
  });
}

function remember() {
  const focus = document.activeElement?.closest?.("[data-focus]")?.dataset.focus ?? null;
  sessionStorage.setItem(
    `place:${entry}`,
    JSON.stringify({ y: scrollY, focus, rows: document.querySelectorAll("main [data-row]").length }),
  );
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(`place:${entry}`));
  } catch {
    return null;
  }
}

function fresh() {
  return Math.random().toString(36).slice(2);
}
