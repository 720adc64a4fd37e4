// Building the page. Data becomes text nodes and attribute values, never markup: there is no innerHTML here or
// anywhere else, and links lead only to places inside the viewer.

const SVG = "http://www.w3.org/2000/svg";
const LINK = /^(#|blob:|data:image\/)/;

/** An HTML element. `attributes`: `class`, `style` (an object), `on` (event -> listener), or any attribute. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, by the same rules. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  append(element, children);
  return element;
}

function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  } else if (name === "style") {
    for (const [property, worth] of Object.entries(value)) element.style.setProperty(property, worth);
  } else if (name === "value" || name === "checked" || name === "disabled" || name === "open") {
    element[name] = value;
  } else if (/^on/i.test(name) || /^(src|srcdoc|action|formaction)$/i.test(name)) {
    throw new Error(`attribute ${name} is not set from here`);
  } else if (name === "href" && !LINK.test(value)) {
    throw new Error(`a link leads out of the viewer: ${value}`);
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Appends elements, texts, numbers and lists of these; leaves out null, undefined and false. */
export function append(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Puts `children` in the place of what `element` holds. */
export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** A button that does something here (places to go are links). */
export function button(label, onClick, attributes = {}) {
  return h("button", { type: "button", ...attributes, on: { click: onClick } }, label);
}

/** A link to a place in the viewer. */
export function link(href, attributes, ...children) {
  return h("a", { href, ...attributes }, ...children);
}

/** A word or two in a pill: `kind` picks its colours, `mark` the sign that says the same without colour. */
export function chip(kind, mark, text, title) {
  return h(
    "span",
    { class: `chip ${kind}`, title },
    mark ? h("span", { class: "mark", "aria-hidden": "true" }, mark) : null,
    text,
  );
}

/** A set of choices of which one is taken. */
export function segmented(label, options, chosen, onChoose) {
  const buttons = options.map(([value, text, title]) =>
    button(text, () => onChoose(value), {
      "aria-pressed": String(value === chosen),
      title,
      "data-value": value,
    }),
  );
  return h("div", { class: "segmented", role: "group", "aria-label": label }, buttons);
}

/** A choice from a list. */
export function select(label, options, chosen, onChoose) {
  const list = h(
    "select",
    { "aria-label": label, on: { change: () => onChoose(list.value) } },
    options.map(([value, text]) =>
      h("option", { value, ...(value === chosen ? { selected: true } : {}) }, text),
    ),
  );
  return h("label", { class: "field" }, h("span", {}, label), list);
}

/** A section with its heading. */
export function section(title, attributes, ...children) {
  return h("section", attributes, h("h2", {}, title), ...children);
}

/** A table of plain values. `columns`: [{title, number?, cell?}]; `rows`: lists of values or nodes. */
export function table(caption, columns, rows, attributes = {}) {
  return h(
    "table",
    attributes,
    caption ? h("caption", {}, caption) : null,
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        columns.map((c) => h("th", { scope: "col", class: c.number ? "number" : null }, c.title)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map((row) =>
        h(
          "tr",
          {},
          row.map((value, i) => h("td", { class: columns[i].number ? "number" : null }, value ?? "–")),
        ),
      ),
    ),
  );
}

/** Something that may be wider or longer than its room: it scrolls by itself, also by keyboard. */
export function scroller(label, ...children) {
  return h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": label }, ...children);
}

/** Says something to the reader, also by screen reader, without taking the focus. */
export function announce(text) {
  const place = document.getElementById("announcer");
  replace(place, text);
  place.classList.add("shown");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => place.classList.remove("shown"), 2400);
}

/** Copies text to the clipboard and says so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "offscreen", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  announce(`Copied ${what}.`);
}

/** Offers a file for saving. */
export function download(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const url = URL.createObjectURL(blob);
  const anchor = h("a", { href: url, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
