// Numbers and names as a reader wants them.

/** A number for a table: three significant places at most, never an exponent for ordinary sizes. */
export function number(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) >= 1000) return count(value);
  if (value !== 0 && Math.abs(value) < 10 ** -digits / 2) return value < 0 ? "−0.00" : "0.00";
  return value.toFixed(digits).replace("-", "−");
}

/** A difference, with its sign. */
export function signed(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  const text = number(value, digits);
  return value > 0 ? `+${text}` : text;
}

/** A whole number with its thousands apart; signed where it is a change. */
export function count(value) {
  if (value === null || value === undefined) return "–";
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f").replace("-", "−");
}

/** A change in a count. */
export function change(value) {
  if (value === null || value === undefined) return "–";
  return value > 0 ? `+${count(value)}` : value === 0 ? "±0" : count(value);
}

/** A probability. */
export function probability(value) {
  return number(value, 2);
}

/** An interval. */
export function interval(low, high, digits = 2) {
  return low === null || low === undefined ? "" : `[${number(low, digits)}, ${number(high, digits)}]`;
}

/** Seconds in words. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** A moment, in the reader's own time zone. */
export function moment(seconds) {
  return seconds
    ? new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })
    : "–";
}

/** `one episode`, `3 episodes`. */
export function plural(n, noun, several = `${noun}s`) {
  return `${count(n)} ${n === 1 ? noun : several}`;
}

/** A name of the code as words. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

/** The last part of a path of the scenario. */
export function tail(path) {
  return String(path).split(".").at(-1);
}

/** Any JSON value in one line. */
export function brief(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value;
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : number(value, 3);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(brief).join(", ");
  return Object.entries(value)
    .map(([k, v]) => `${words(k)}: ${brief(v)}`)
    .join(", ");
}
