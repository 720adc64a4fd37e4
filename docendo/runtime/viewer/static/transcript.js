// An episode's events as steps: one step per act in the graph, with all that it said, decided, believed and spent.

const LISTS = {
  message: "messages",
  call: "calls",
  decision: "decisions",
  belief: "beliefs",
  spend: "spends",
  grade: "grades",
  flag: "flags",
  memory: "memories",
  stop: "stops",
  error: "errors",
};

/** Steps in order. Each: {index, turn, branch, agent, act, messages, decisions, beliefs, spends, grades, flags, memories, calls,
 *  stops, errors, ledger} where `ledger` is what was left of each limited unit after the step. */
export function steps(events, limits = {}) {
  const found = new Map();
  for (const [index, raw] of events.entries()) {
    const event = { ...raw, index };
    const key = `${event.turn} ${event.branch}`;
    if (!found.has(key)) found.set(key, fresh(event));
    const step = found.get(key);
    if (!step.agent) [step.agent, step.act] = [event.agent, event.act];
    step[LISTS[event.kind]].push(event);
  }
  const left = { ...limits };
  return [...found.values()].map((step, index) => {
    for (const spend of step.spends) if (spend.remaining !== null) left[spend.unit] = spend.remaining;
    return { ...step, index, ledger: { ...left } };
  });
}

function fresh({ turn, branch, agent, act }) {
  return {
    turn,
    branch,
    agent,
    act,
    messages: [],
    decisions: [],
    beliefs: [],
    spends: [],
    grades: [],
    flags: [],
    memories: [],
    calls: [],
    stops: [],
    errors: [],
  };
}

/** How a step stands in an address: its turn, and its branch where there is one. */
export function turnKey(step) {
  return step.branch ? `${step.turn}~${step.branch}` : String(step.turn);
}

/** Where the step of an address stands; -1 where there is none. */
export function stepOf(all, text) {
  if (text === undefined) return -1;
  const found = all.findIndex((step) => turnKey(step) === text);
  return found >= 0 ? found : all.findIndex((step) => String(step.turn) === String(text).split("~")[0]);
}

/** What each unit was limited to, as far as the events tell: the first spend and what it left. */
export function limitsOf(events) {
  const limits = {};
  for (const event of events) {
    if (event.kind === "spend" && event.remaining !== null && !(event.unit in limits))
      limits[event.unit] = event.remaining + event.amount;
  }
  return limits;
}

/** Where an agent's words stand in the dialogue: `teacher`, `student` or `margin`. */
export function laneOf(step, roles) {
  const role = roles[step.agent] ?? step.agent;
  if (role === "student") return "student";
  if (role === "teacher") return "teacher";
  return step.agent ? "margin" : "whole";
}

/** Who can read a message: its sender always. */
export function readable(message, agent) {
  return agent === message.sender || message.recipients.includes("*") || message.recipients.includes(agent);
}

/** What the laboratory says about each belief, with the step that it belongs to. `points`: `EpisodePage.beliefs`. */
export function judged(all, points) {
  const step = new Map(all.flatMap((s) => s.beliefs.map((b) => [b.index, s.index])));
  return points.map((point) => ({ ...point, step: step.get(point.event) }));
}

/** Beliefs about skills or misconceptions over the steps: Map name -> [{step, turn, p, truth}], the true and the moving first.
 *  `what` is `skills` or `misconceptions`. */
export function tracks(all, what, student, agent) {
  const found = new Map();
  for (const step of all) {
    for (const belief of step.beliefs) {
      if (belief.student !== student || (agent && belief.agent !== agent)) continue;
      for (const [name, p] of Object.entries(belief[what] ?? {})) {
        if (!found.has(name)) found.set(name, []);
        found
          .get(name)
          .push({ step: step.index, turn: step.turn, p, truth: truthOf(belief.truth, what, name) });
      }
    }
  }
  const weight = (points) =>
    (points.some((p) => p.truth === true) === (what === "misconceptions") ? 2 : 0) +
    Math.max(...points.map((p) => p.p));
  return new Map([...found].sort((a, b) => weight(b[1]) - weight(a[1])));
}

function truthOf(truth, what, name) {
  const known = truth?.[what];
  if (known === undefined || known === null) return null;
  if (Array.isArray(known)) return known.includes(name);
  if (!(name in known)) return null;
  const held = known[name];
  return typeof held === "string"
    ? held === "correct"
    : typeof held === "number"
      ? held >= 0.5
      : Boolean(held);
}
