// Where the pages get their data: from the server's API, or from the documents inside an exported file. Nothing else
// reads either of them.

const element = document.getElementById("docendo-export");

/** Whether this page is an export: one file, with its data inside and no server behind it. */
export const exported = element !== null;

const store = exported ? JSON.parse(element.textContent) : null;
const chunks = new Map();
const kept = new Map();
const KEPT = 300;

/** What is wrong, in words for the reader. */
export class Refused extends Error {
  constructor({ code = "error", message, suggestion = "", ...rest }) {
    super(message);
    Object.assign(this, { code, suggestion, ...rest });
  }
}

/** The document at `path` (`runs/x/study`), with `query` parameters. Raises `Refused`. */
export async function get(path, query = {}, { fresh = false } = {}) {
  const address = addressOf(path, query);
  if (!fresh && kept.has(address)) return kept.get(address);
  const document_ = exported ? await fromFile(path, address) : await fromServer(address);
  kept.set(address, document_);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return document_;
}

/** Forgets what was read, so that it is read again. */
export function forget() {
  kept.clear();
}

function addressOf(path, query) {
  const pairs = Object.entries(query).filter(([, v]) => v !== null && v !== undefined && v !== "");
  return path + (pairs.length ? `?${new URLSearchParams(pairs)}` : "");
}

async function fromServer(address) {
  let response;
  try {
    response = await fetch(`api/${encoded(address)}`, { headers: { accept: "application/json" } });
  } catch {
    throw new Refused({
      code: "unreachable",
      message: "The viewer's server does not answer.",
      suggestion: "It may have been stopped: `docendo view` starts it again.",
    });
  }
  const body = await response.json().catch(() => null);
  if (!response.ok)
    throw new Refused(body?.error ?? { message: `The server answered ${response.status} to ${address}.` });
  return body;
}

function encoded(address) {
  const [path, ...query] = address.split("?");
  return [path.split("/").map(encodeURIComponent).join("/"), ...query].join("?");
}

async function fromFile(path, address) {
  const number = store.documents[address] ?? store.documents[path];
  if (number === undefined)
    throw new Refused({
      code: "not_exported",
      message: "This is not in the exported file.",
      suggestion: "`docendo view` shows everything that the store holds.",
    });
  const { documents } = await chunk(number);
  const found = documents[address] ?? documents[path];
  return found.chunks ? { ...found, texts: await textsOf(found) } : found;
}

/** The prompt messages of a calls' page: equal ones stand once in the whole file, in the chunks that the page names. */
async function textsOf({ chunks: numbers, calls }) {
  const known = Object.assign({}, ...(await Promise.all(numbers.map(chunk))).map((c) => c.texts));
  return Object.fromEntries(calls.flatMap((call) => call.prompt).map((hash) => [hash, known[hash]]));
}

function chunk(number) {
  if (!chunks.has(number)) chunks.set(number, inflate(store.chunks[number]));
  return chunks.get(number);
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Pages of a list, one after the other: an async iterator over the pages. An export holds the list whole. */
export async function* pages(path, query = {}) {
  let after = null;
  do {
    const page = await get(path, { ...query, after });
    yield page;
    after = page.next;
  } while (after);
}

/** Paths of the documents in an export that begin with `start` and fit `form`, in the order in which they were written. */
export function documentPaths(start, form) {
  return Object.keys(store.documents).filter((path) => path.startsWith(start) && form.test(path));
}
