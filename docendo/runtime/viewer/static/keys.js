// The keyboard: every page says which keys it has, and `?` shows them all.

import { button, h, replace } from "./dom.js";

const NAMES = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };
const scopes = [];
let prefix = null;
let forgetting;

/** Adds keys while a page, drawer or dialog is there; returns a function that takes them away.
 *  `bindings`: [{keys: "j", does: "next turn", run}], a sequence is written `g s`. */
export function bind(title, bindings) {
  const scope = { title, bindings };
  scopes.push(scope);
  return () => {
    const at = scopes.indexOf(scope);
    if (at >= 0) scopes.splice(at, 1);
  };
}

/** Starts listening. */
export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") return void run("Escape", event);
    if (writing(event.target)) return;
    if (event.key === "?") return void (event.preventDefault(), sheet());
    if (document.querySelector("dialog[open]:not(.drawer)")) return;
    const sequence = prefix ? `${prefix} ${event.key}` : event.key;
    prefix = null;
    if (run(sequence, event)) return;
    if (starts(event.key)) {
      prefix = event.key;
      clearTimeout(forgetting);
      forgetting = setTimeout(() => (prefix = null), 1200);
    }
  });
}

function writing(target) {
  const tag = target?.tagName;
  if (tag === "INPUT") return !["checkbox", "radio", "range", "button"].includes(target.type);
  return tag === "TEXTAREA" || tag === "SELECT" || target?.isContentEditable;
}

function run(sequence, event) {
  for (const scope of [...scopes].reverse()) {
    const found = scope.bindings.find((b) =>
      b.keys.split(" or ").includes(sequence === " " ? "Space" : sequence),
    );
    if (!found) continue;
    if (found.keys === "Space" && /^(BUTTON|A|SUMMARY)$/.test(event.target?.tagName)) return false;
    if (found.run(event) === false) continue;
    event.preventDefault();
    return true;
  }
  return false;
}

function starts(letter) {
  return scopes.some((scope) => scope.bindings.some((b) => b.keys.startsWith(`${letter} `)));
}

/** Shows the sheet of keys; again hides it. */
export function sheet() {
  const dialog = document.getElementById("keysheet");
  if (dialog.open) return dialog.close();
  const groups = [...scopes].reverse().map(({ title, bindings }) =>
    h(
      "section",
      {},
      h("h3", {}, title),
      h(
        "dl",
        {},
        bindings
          .filter((b) => b.does)
          .map((b) => h("div", {}, h("dt", {}, caps(b.keys)), h("dd", {}, b.does))),
      ),
    ),
  );
  replace(
    dialog,
    h(
      "header",
      {},
      h("h2", { id: "keysheet-title", tabindex: "-1" }, "Keys"),
      button("Close", () => dialog.close()),
    ),
    h("div", { class: "sheet" }, groups),
  );
  dialog.showModal();
}

function caps(keys) {
  return keys
    .split(" or ")
    .map((one, i) => [i ? " or " : "", one.split(" ").map((k) => h("kbd", {}, NAMES[k] ?? k))]);
}
