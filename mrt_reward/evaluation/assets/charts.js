"use strict";
// A chart is read by pointer or, once it has the focus, by arrow keys: a line at the nearest x, and the numbers there.
const SVG = "http://www.w3.org/2000/svg";
function readable(figure) {
  const plot = figure.querySelector(".plot"), svg = plot && plot.querySelector("svg");
  const readings = svg ? JSON.parse(svg.dataset.readings) : [];
  if (!readings.length) return;
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const guide = document.createElementNS(SVG, "line");
  guide.setAttribute("class", "guide");
  guide.setAttribute("y1", svg.dataset.top);
  guide.setAttribute("y2", svg.dataset.bottom);
  const box = document.createElement("div");
  box.className = "reading";
  box.setAttribute("role", "status");
  box.hidden = true;
  plot.append(box);
  let index = -1;

  function line(style, text) {
    const node = document.createElement("div"), key = document.createElement("i");
    key.className = `key k${style}`;
    node.append(key, text); // strings become text nodes, never markup
    return node;
  }
  function show(at) {
    index = Math.min(Math.max(at, 0), readings.length - 1);
    const reading = readings[index], head = document.createElement("b");
    head.textContent = reading.at;
    box.replaceChildren(head, ...reading.lines.map(([style, text]) => line(style, text)));
    guide.setAttribute("x1", reading.x);
    guide.setAttribute("x2", reading.x);
    svg.append(guide);
    const right = reading.x > width / 2;
    box.style.left = right ? "auto" : `${(100 * reading.x) / width}%`;
    box.style.right = right ? `${100 - (100 * reading.x) / width}%` : "auto";
    box.style.top = `${(100 * Number(svg.dataset.top)) / height}%`;
    box.hidden = false;
  }
  function hide() {
    index = -1;
    box.hidden = true;
    guide.remove();
  }
  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * width;
    let nearest = 0;
    readings.forEach((reading, at) => { if (Math.abs(reading.x - x) < Math.abs(readings[nearest].x - x)) nearest = at; });
    show(nearest);
  });
  svg.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    const last = readings.length - 1;
    const to = { ArrowRight: index + 1, ArrowLeft: index < 0 ? last : index - 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") hide();
    else if (to !== undefined) show(to);
    else return;
    event.preventDefault();
  });
}
document.querySelectorAll("figure.chart").forEach(readable);
