"use strict";
// Everything that a server says is put in as text: a model may have written it.
const EVERY_MS = 5000;
const at = (id) => document.getElementById(id);

function made(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function row(cells) {
  const line = made("tr");
  line.append(...cells);
  return line;
}

function bar(from, to, kind) {
  const track = made("div", undefined, "track");
  const filled = made("i", undefined, kind);
  const low = Math.max(0, Math.min(from, to)), high = Math.min(1, Math.max(from, to));
  filled.style.left = `${100 * low}%`;
  filled.style.width = `${100 * (high - low)}%`;
  track.append(filled);
  const cell = made("td", undefined, "bar");
  cell.append(track);
  return cell;
}

const kindOf = (number) => (number > 0.02 ? "up" : number < -0.02 ? "down" : "");
const signed = (number) => (number === null ? "not known" : `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`);
// Of statuses that the server notes; codes of traces are words by themselves.
const MEANINGS = { 405: "another method is expected", 413: "too large", 415: "no Content-Type: application/json",
  422: "the request is not as the contract says", 429: "too busy", 503: "not ready, or stopping", 504: "the deadline was over" };
const meant = (code) => (MEANINGS[code] ? `${code}: ${MEANINGS[code]}` : code);
const plain = (number) => (number === null ? "not known" : number.toFixed(3));

async function asked(path, body) {
  const headers = {};
  const key = at("key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store" });
  const told = await reply.json().catch(() => ({}));
  if (reply.ok) return told;
  const what = told.error ? `${told.error.message} (${told.error.code})` : "no reason was given";
  throw Object.assign(new Error(`${reply.status}: ${what}`), { status: reply.status });
}

function showState(prover, now) {
  at("who").replaceChildren(
    row([made("th", "model"), made("td", `${prover.model}@${prover.version}`)]),
    row([made("th", "engine"), made("td", prover.engine)]),
    row([made("th", "context"), made("td", `${prover.max_tokens.toLocaleString("en")} tokens`)]),
    row([made("th", "graders"), made("td", prover.graders.join(", "))]),
    ...(prover.note ? [row([made("th", "note"), made("td", prover.note)])] : []),
  );
  const share = now.queue_limit_tokens ? now.queued_tokens / now.queue_limit_tokens : 0;
  const traces = ["ok", "partial", "error"].map((status) => `${(now.traces[status] || 0).toLocaleString("en")} ${status}`);
  at("busy").replaceChildren(
    row([made("th", "queue"), made("td", `${now.queued_tokens.toLocaleString("en")} of ${now.queue_limit_tokens.toLocaleString("en")} tokens`), bar(0, share, "")]),
    row([made("th", "proofs"), made("td", `${now.running} at work, ${now.waiting} waiting`), made("td")]),
    row([made("th", "traces"), made("td", traces.join(", ")), made("td")]),
  );
  const most = Math.max(1, ...now.progress.map((bin) => bin.episodes));
  at("progress").replaceChildren(...now.progress.map((bin) => {
    const edge = (number) => signed(number).slice(0, -1);
    const name = bin.low === null ? `to ${edge(bin.high)}` : bin.high === null ? `above ${edge(bin.low)}` : `${edge(bin.low)} to ${edge(bin.high)}`;
    const middle = ((bin.low ?? -1) + (bin.high ?? 1)) / 2;
    return row([made("th", name, "number"), made("td", bin.episodes.toLocaleString("en"), "number"), bar(0, bin.episodes / most, kindOf(middle))]);
  }));
  at("errors").replaceChildren(...now.errors.map((each) =>
    row([made("td", `${Math.round(each.seconds_ago)} s ago`), made("td", each.where), made("td", meant(each.code)), made("td", each.count > 1 ? `${each.count} times` : "")])));
  at("no-errors").hidden = now.errors.length > 0;
}

async function look() {
  const problem = at("problem-state");
  try {
    const [prover, now] = await Promise.all([asked("v1/prover"), asked("v1/overview")]);
    showState(prover, now);
    at("state").hidden = false;
    problem.textContent = "";
  } catch (error) {
    at("state").hidden = true;
    const needsKey = error.status === 401 || error.status === 403;
    if (needsKey) at("key-field").hidden = false;
    problem.textContent = needsKey && !at("key").value ? "This server asks for a key: type it above." : error.message;
  }
  try {
    await asked("readyz");
    at("ready").textContent = "It can prove.";
    at("ready").className = "";
  } catch (error) {
    at("ready").textContent = `It cannot prove now. ${error.message}`;
    at("ready").className = "alert";
  }
}

function showTrace(trace, completion) {
  const told = at("told");
  if (trace.error) {
    told.textContent = `Not scored. ${trace.error.message} (${trace.error.code})`;
    told.className = "alert";
    at("scored").hidden = true;
    return;
  }
  const values = trace.values.map((value) => value.value);
  const outcome = trace.outcome === null ? "not known" : trace.outcome;
  told.textContent = `J is ${plain(values[0])} without thinking and ${plain(values[values.length - 1])} after all of it. Outcome: ${outcome}. ${[...trace.warnings].join(" ")}`;
  told.className = "";
  const points = Array.from(completion); // Offsets count Unicode code points.
  at("episodes").replaceChildren(...trace.episodes.map((episode, place) => {
    const said = made("td");
    said.append(made("div", points.slice(episode.char_start, episode.char_end).join("").trim(), "said"));
    const known = values[place] !== null && values[place + 1] !== null;
    const kind = known ? kindOf(episode.progress) : "";
    return row([
      made("th", `z[${place}]`), said, made("td", plain(values[place + 1]), "number"),
      known ? bar(values[place], values[place + 1], kind) : made("td"),
      made("td", signed(episode.progress), `number ${kind ? `${kind}-text` : ""}`),
    ]);
  }));
  at("scored").hidden = false;
}

async function score(event) {
  event.preventDefault();
  const completion = at("completion").value, answer = at("answer").value.trim();
  const trace = { id: "page", problem: at("problem").value, completion };
  if (answer) trace.answer = answer;
  const body = { traces: [trace] };
  const estimator = at("estimator").value;
  if (estimator) body.options = { estimator: { kind: estimator } };
  const button = at("score");
  button.disabled = true;
  at("told").textContent = "Scoring …";
  at("told").className = "";
  try {
    showTrace((await asked("v1/score", body)).traces[0], completion);
  } catch (error) {
    at("scored").hidden = true;
    at("told").textContent = error.message;
    at("told").className = "alert";
  }
  button.disabled = false;
  await look();
}

at("form").addEventListener("submit", score);
at("key").addEventListener("change", look);
async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, EVERY_MS);
}
watch();
