// Filters over episodes in an exported file: the same small language that the server evaluates (a subset of Python's
// expressions), read into a tree and walked; nothing is ever handed to the JavaScript engine as code.

import { Refused } from "./data.js";

const TOKEN =
  /\s*(?:(\d+\.?\d*(?:e[-+]?\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([A-Za-z_]\w*)|(\/\/|<=|>=|==|!=|[-+*\/%<>()\[\],.]))/y;
const COMPARE = new Set(["<", "<=", ">", ">=", "==", "!="]);
const WORDS = new Set(["and", "or", "not", "in", "is", "if", "else", "for", "True", "False", "None"]);
const AGGREGATES = new Set(["any", "all", "sum", "count", "min", "max"]);
const FUNCTIONS = new Set([...AGGREGATES, "len", "abs", "round"]);
const METHODS = new Set(["startswith", "endswith", "lower", "get"]);

/** Compiles a filter. `names`: what an episode has, `fields`: what a turn has. Gives row -> value; raises `Refused` with a column. */
export function compile(text, names, fields) {
  const parser = new Parser(text, new Set(names), new Set(fields));
  const tree = parser.whole();
  return (row) => truth(tree({ row, turn: {} }));
}

function truth(value) {
  if (value === null || value === undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  return typeof value === "object" ? Object.keys(value).length > 0 : Boolean(value);
}

function refuse(message, at, suggestion = "") {
  return new Refused({ code: "expression", message, column: at + 1, suggestion });
}

class Parser {
  constructor(text, names, fields) {
    Object.assign(this, {
      names,
      fields,
      variables: new Set(),
      tokens: tokenize(text),
      at: 0,
      end: text.length,
    });
    this.binders = new Set(
      this.tokens.flatMap((t, i) =>
        t.text === "for" && this.tokens[i + 1]?.kind === "name" ? [this.tokens[i + 1].text] : [],
      ),
    );
  }

  get next() {
    return this.tokens[this.at] ?? { kind: "end", text: "", at: this.end };
  }

  accept(text) {
    if (this.next.kind === "string" || this.next.text !== text) return false;
    this.at++;
    return true;
  }

  expect(text) {
    if (!this.accept(text))
      throw refuse(
        `expected \`${text}\`${this.next.text ? `, found \`${this.next.text}\`` : " at the end"}`,
        this.next.at,
      );
  }

  whole() {
    const tree = this.conditional();
    if (this.next.kind !== "end") throw refuse(`\`${this.next.text}\` is not expected here`, this.next.at);
    return tree;
  }

  conditional() {
    const then = this.or();
    if (!this.accept("if")) return then;
    const test = this.or();
    this.expect("else");
    const other = this.conditional();
    return (s) => (truth(test(s)) ? then(s) : other(s));
  }

  or() {
    let left = this.and();
    while (this.accept("or")) left = ((a, b) => (s) => (truth(a(s)) ? a(s) : b(s)))(left, this.and());
    return left;
  }

  and() {
    let left = this.not();
    while (this.accept("and")) left = ((a, b) => (s) => (truth(a(s)) ? b(s) : a(s)))(left, this.not());
    return left;
  }

  not() {
    if (!this.accept("not")) return this.comparison();
    const inner = this.not();
    return (s) => !truth(inner(s));
  }

  operator() {
    if (COMPARE.has(this.next.text) && this.next.kind === "sign") return this.tokens[this.at++].text;
    if (this.accept("in")) return "in";
    if (this.next.text === "not" && this.tokens[this.at + 1]?.text === "in")
      return ((this.at += 2), "not in");
    if (this.accept("is")) return this.accept("not") ? "is not" : "is";
    return null;
  }

  comparison() {
    const first = this.sum();
    const rest = [];
    for (let sign = this.operator(); sign; sign = this.operator()) rest.push([sign, this.sum()]);
    if (!rest.length) return first;
    return (s) => {
      let left = first(s);
      for (const [sign, side] of rest) {
        const right = side(s);
        if (!compared(sign, left, right)) return false;
        left = right;
      }
      return true;
    };
  }

  sum() {
    let left = this.product();
    while (["+", "-"].includes(this.next.text) && this.next.kind === "sign")
      left = arithmetic(this.tokens[this.at++].text, left, this.product());
    return left;
  }

  product() {
    let left = this.unary();
    while (["*", "/", "//", "%"].includes(this.next.text) && this.next.kind === "sign")
      left = arithmetic(this.tokens[this.at++].text, left, this.unary());
    return left;
  }

  unary() {
    if (!this.accept("-")) return this.trailer(this.atom());
    const inner = this.unary();
    return (s) => (inner(s) === null ? null : -inner(s));
  }

  atom() {
    const token = this.next;
    this.at++;
    if (token.kind === "number") return () => Number(token.text);
    if (token.kind === "string") return () => token.value;
    if (token.kind === "name" && { True: 1, False: 1, None: 1 }[token.text])
      return () => ({ True: true, False: false, None: null })[token.text];
    if (token.text === "(" || token.text === "[") return this.list(token.text === "(" ? ")" : "]");
    if (token.kind === "name" && !WORDS.has(token.text)) return this.name(token);
    throw refuse(
      token.text ? `\`${token.text}\` is not expected here` : "the filter ends too early",
      token.at,
    );
  }

  list(close) {
    const parts = [];
    let comma = close === "]";
    while (!this.accept(close)) {
      parts.push(this.conditional());
      if (this.accept(",")) comma = true;
      else {
        this.expect(close);
        break;
      }
    }
    return comma ? (s) => parts.map((part) => part(s)) : parts[0];
  }

  name(token) {
    const { text } = token;
    if (this.next.text === "(" && this.next.kind === "sign") return this.call(token);
    if (this.binders.has(text) && (this.variables.has(text) || !this.names.has(text)))
      return Object.assign((s) => s.turn[text], { variable: text });
    if (!this.names.has(text)) throw unknown("name", token, this.names);
    return (s) => s.row[text] ?? null;
  }

  call(token) {
    if (!FUNCTIONS.has(token.text)) throw unknown("function", token, FUNCTIONS);
    this.expect("(");
    const mark = this.at;
    let body = this.conditional();
    if (this.accept("for")) return this.over(token.text, body);
    this.at = mark;
    const parts = [].concat(this.arguments());
    return (s) =>
      applied(
        token.text,
        parts.map((part) => part(s)),
      );
  }

  arguments() {
    const parts = [];
    while (!this.accept(")")) {
      parts.push(this.conditional());
      if (!this.accept(",")) {
        this.expect(")");
        break;
      }
    }
    return parts;
  }

  over(how, body) {
    const variable = this.next;
    this.at++;
    this.expect("in");
    const source = this.or();
    const test = this.accept("if") ? this.or() : () => true;
    this.expect(")");
    return (s) => {
      const inside = (turn) => ({ ...s, turn: { ...s.turn, [variable.text]: turn } });
      return applied(how, [
        (source(s) ?? []).filter((t) => truth(test(inside(t)))).map((t) => body(inside(t))),
      ]);
    };
  }

  trailer(tree) {
    if (this.next.kind === "string") return tree;
    if (this.accept("[")) {
      const index = this.conditional();
      this.expect("]");
      return this.trailer((s) => at(tree(s), index(s)));
    }
    if (!this.accept(".")) return tree;
    const field = this.next;
    this.at++;
    if (this.accept("(")) {
      if (!METHODS.has(field.text)) throw unknown("method", field, METHODS);
      const parts = this.arguments();
      return this.trailer((s) =>
        method(
          field.text,
          tree(s),
          parts.map((part) => part(s)),
        ),
      );
    }
    if (!tree.variable)
      throw refuse(`only turns have fields: \`.${field.text}\` stands behind something else`, field.at);
    if (!this.fields.has(field.text)) throw unknown("field of a turn", field, this.fields);
    return this.trailer((s) => tree(s)?.[field.text] ?? null);
  }
}

function tokenize(text) {
  const found = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match)
      throw refuse(`\`${text.slice(from).trim()[0]}\` cannot be read`, from + text.slice(from).search(/\S/));
    const [, number, string, name, sign] = match;
    const body = number ?? string ?? name ?? sign;
    found.push({
      kind: number ? "number" : string ? "string" : name ? "name" : "sign",
      text: body,
      at: TOKEN.lastIndex - body.length,
      value: string?.slice(1, -1).replace(/\\(.)/g, "$1"),
    });
  }
  return found;
}

function unknown(what, { text, at: place }, known) {
  const near = [...known].map((name) => [distance(text, name), name]).sort((a, b) => a[0] - b[0])[0];
  return refuse(
    `unknown ${what} \`${text}\``,
    place,
    near && near[0] <= Math.max(1, text.length / 3)
      ? `Did you mean \`${near[1]}\`?`
      : `Known: ${[...known].sort().join(", ")}.`,
  );
}

/** Letters that must be changed to make `b` of `a` (Levenshtein). */
function distance(a, b) {
  let line = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const above = line;
    line = [i];
    for (let j = 1; j <= b.length; j++)
      line[j] = Math.min(above[j] + 1, line[j - 1] + 1, above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
  }
  return line[b.length];
}

function number(value) {
  return typeof value === "boolean" ? Number(value) : value;
}

function compared(sign, a, b) {
  if (sign === "is" || sign === "is not") return (a === b) === (sign === "is");
  if (sign === "in" || sign === "not in") {
    const inside =
      b === null ? false : typeof b === "string" ? b.includes(a) : Array.isArray(b) ? b.includes(a) : a in b;
    return inside === (sign === "in");
  }
  [a, b] = [number(a), number(b)];
  if (sign === "==") return a === b;
  if (sign === "!=") return a !== b;
  if (a === null || b === null || typeof a !== typeof b) return false;
  return sign === "<" ? a < b : sign === "<=" ? a <= b : sign === ">" ? a > b : a >= b;
}

function arithmetic(sign, left, right) {
  return (s) => {
    const [a, b] = [number(left(s)), number(right(s))];
    if (a === null || b === null) return null;
    if (sign === "+") return a + b;
    if (sign === "-") return a - b;
    if (sign === "*") return a * b;
    if (b === 0) return null;
    return sign === "/" ? a / b : sign === "//" ? Math.floor(a / b) : a - b * Math.floor(a / b);
  };
}

function applied(how, parts) {
  const values = parts.length === 1 && Array.isArray(parts[0]) ? parts[0] : parts;
  const known = values.filter((v) => v !== null && v !== undefined).map(number);
  if (how === "any") return values.some(truth);
  if (how === "all") return values.every(truth);
  if (how === "count") return values.filter(truth).length;
  if (how === "sum") return known.reduce((a, b) => a + b, 0);
  if (how === "len")
    return parts[0] === null
      ? null
      : Array.isArray(parts[0]) || typeof parts[0] === "string"
        ? parts[0].length
        : Object.keys(parts[0]).length;
  if (how === "abs") return known.length ? Math.abs(known[0]) : null;
  if (how === "round") return known.length ? Number(known[0].toFixed(known[1] ?? 0)) : null;
  return known.length ? Math[how](...known) : null;
}

function method(name, value, [first, second]) {
  if (value === null || value === undefined) return null;
  if (name === "get") return value[first] ?? second ?? null;
  if (typeof value !== "string") return null;
  return name === "lower"
    ? value.toLowerCase()
    : name === "startswith"
      ? value.startsWith(first)
      : value.endsWith(first);
}

function at(value, index) {
  if (value === null || value === undefined) return null;
  return (
    (Array.isArray(value) || typeof value === "string"
      ? value.at(index)
      : Object.hasOwn(value, index)
        ? value[index]
        : null) ?? null
  );
}
