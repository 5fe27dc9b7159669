
(() => {
  const traces = JSON.parse(document.getElementById("trace-data").textContent);
  const place = document.getElementById("trace");
  const pick = document.getElementById("pick");
  const model = document.getElementById("pick-model");
  const order = document.getElementById("pick-order");
  if (!place || !traces.length) return;

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    for (const child of children) node.append(child); // strings become text nodes, never markup
    return node;
  };
  const draw = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const number = (value, digits = 2) => (value === null ? "?" : value.toFixed(digits));
  const signed = (value) => (value === null ? "not measured" : (value > 0 ? "+" : "") + value.toFixed(2));
  const gain = (trace) => {
    const first = trace.values[0].v, last = trace.values[trace.values.length - 1].v;
    return first === null || last === null ? 0 : last - first;
  };

  const orders = {
    problem: () => 0,
    loss: (a, b) => Math.min(0, ...a.episodes.map((e) => e.progress ?? 0)) - Math.min(0, ...b.episodes.map((e) => e.progress ?? 0)),
    gain: (a, b) => gain(b) - gain(a),
    length: (a, b) => (b.tokens[b.tokens.length - 1] ?? 0) - (a.tokens[a.tokens.length - 1] ?? 0),
  };
  let listed = [];

  function list() {
    listed = traces.filter((trace) => !model.value || trace.model === model.value).sort(orders[order.value]);
    pick.replaceChildren(...listed.map((trace, index) => {
      const mark = trace.outcome === null ? "" : trace.outcome > 0.5 ? " ✓" : " ✗";
      return make("option", { value: index }, `${trace.id} · ${trace.model}${mark}`);
    }));
    show();
  }

  function curve(trace) {
    const width = 640, height = 150, left = 34, bottom = 24, top = 8;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "value after each episode", "data-top": top, "data-bottom": height - bottom });
    const last = trace.values.length - 1 + trace.extension.length;
    const x = (j) => left + (j / Math.max(last, 1)) * (width - left - 12);
    const y = (v) => height - bottom - v * (height - bottom - top);
    for (const tick of [0, 0.5, 1]) {
      svg.append(draw("line", { class: "grid", x1: left, x2: width - 12, y1: y(tick), y2: y(tick) }));
      const text = draw("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" });
      text.textContent = tick;
      svg.append(text);
    }
    const points = [...trace.values, ...trace.extension].map((value, j) => ({ ...value, j }));
    const known = points.filter((point) => point.v !== null);
    svg.append(draw("polyline", { class: "line s0", points: known.map((p) => `${x(p.j)},${y(p.v)}`).join(" ") }));
    for (const point of known) {
      if (point.lo !== null) svg.append(draw("line", { class: "line s0 thin", x1: x(point.j), x2: x(point.j), y1: y(point.lo), y2: y(point.hi) }));
      const beyond = point.j >= trace.values.length;
      svg.append(draw("circle", { class: `dot ${beyond ? "f1" : "f0"}`, cx: x(point.j), cy: y(point.v), r: 4 }));
    }
    svg.dataset.readings = JSON.stringify(known.map((point) => {
      const span = point.lo === null ? "" : ` [${number(point.lo)}, ${number(point.hi)}]`;
      return { x: x(point.j), at: `after ${point.j} episodes`, lines: [[point.j >= trace.values.length ? 1 : 0, `J = ${number(point.v)}${span}`]] };
    }));
    const step = Math.ceil((last + 1) / 16);
    for (let j = 0; j <= last; j += step) {
      const text = draw("text", { x: x(j), y: height - 6, "text-anchor": "middle" });
      text.textContent = j;
      svg.append(text);
    }
    const plot = make("div", { class: "plot" }, svg);
    const label = "value after each episode: left and right arrow keys read its points";
    const figure = make("figure", { class: "chart", tabindex: "0", role: "group", "aria-label": label }, plot, make("figcaption", {}, "Value J after each number of episodes, with 95 % intervals" + (trace.extension.length ? "; orange: forced on beyond the end" : "")));
    readable(figure);
    return figure;
  }

  function answers(value) {
    const line = make("p", { class: "answers" });
    if (!value.answers.length) return line;
    line.append("forced answers: ");
    value.answers.forEach(([text, count, right], index) => {
      if (index) line.append(", ");
      line.append(make("code", { class: right ? "right" : "" }, text || "(empty)"), ` ×${count}${right ? " ✓" : ""}`);
    });
    return line;
  }

  function card(title, text, value, kind, badge) {
    const head = make("h4", {}, title, " ", make("span", { class: "badge" }, badge));
    return make("section", { class: `episode ${kind}` }, head, make("pre", {}, text), answers(value));
  }

  function show() {
    const trace = listed[Number(pick.value) || 0];
    if (!trace) { place.replaceChildren(); return; }
    const facts = [];
    if (trace.gold.length) facts.push(`right answer: ${trace.gold.join(" or ")}`);
    if (trace.outcome !== null) facts.push(`outcome ${trace.outcome}`);
    if (trace.truncated) facts.push("cut off by the budget");
    if (trace.tokens.length) facts.push(`${trace.tokens[trace.tokens.length - 1].toLocaleString("en")} tokens`);
    const nodes = [
      make("h3", {}, trace.id),
      make("p", { class: "facts" }, `${trace.model} · ${facts.join(" · ")}`),
      make("pre", { class: "question" }, trace.question),
      ...trace.warnings.map((warning) => make("p", { class: "warning" }, `note: ${warning}`)),
      curve(trace),
      card("z[:0]", "(nothing thought yet)", trace.values[0], "start", `J = ${number(trace.values[0].v)}`),
    ];
    trace.episodes.forEach((episode, j) => {
      const kind = episode.progress === null ? "unknown" : episode.progress > waste ? "up" : episode.progress < -waste ? "down" : "flat";
      const sign = { up: "▲", down: "▼", flat: "●", unknown: "?" }[kind];
      const error = episode.stderr ? ` ± ${number(episode.stderr)}` : "";
      const badge = `${sign} progress ${signed(episode.progress)}${error} · J ${number(trace.values[j].v)} → ${number(trace.values[j + 1].v)} · ${episode.tokens} tokens`;
      nodes.push(card(`z[${j}]`, episode.text, trace.values[j + 1], kind, badge));
    });
    trace.extension.forEach((part, index) => {
      nodes.push(card(`beyond ${index + 1}`, part.text, part, "beyond", `J = ${number(part.v)}`));
    });
    if (trace.answer.trim()) nodes.push(make("section", { class: "episode end" }, make("h4", {}, "answer"), make("pre", {}, trace.answer)));
    place.replaceChildren(...nodes);
  }

  const waste = Number(place.dataset.waste);
  for (const name of [...new Set(traces.map((trace) => trace.model))]) model.append(make("option", { value: name }, name));
  for (const node of [model, order]) node.addEventListener("change", list);
  pick.addEventListener("change", show);
  const move = (by) => { pick.selectedIndex = Math.min(Math.max(pick.selectedIndex + by, 0), listed.length - 1); show(); };
  document.getElementById("previous").addEventListener("click", () => move(-1));
  document.getElementById("next").addEventListener("click", () => move(1));
  list();
})();
