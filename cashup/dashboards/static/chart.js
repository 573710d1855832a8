const SVG = "http://www.w3.org/2000/svg";
const EDGE = { left: 8, right: 66, top: 10, bottom: 24 };

function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) found.push(tick);
  return found;
}

function day(ms, span) {
  const when = new Date(ms).toISOString();
  return span > 3 * 86400e3 ? when.slice(0, 10) : when.slice(5, 16).replace("T", " ");
}

export default {
  render({ model, el }) {
    const age = node("span", { class: "cu-age" });
    const title = node("span", { class: "cu-label" });
    const box = node("div", { class: "cu-chart" });
    const tip = node("div", { class: "cu-tip", hidden: "" });
    const svg = shape("svg", { role: "img", "aria-label": "equity over time" });
    const hover = shape("g", {});
    box.append(svg, tip);
    el.append(node("div", { class: "cu cu-card", "data-figure": "curve" }, node("div", { class: "cu-top" }, title, age), box));

    let at = null; // where a point lies on the canvas
    const draw = () => {
      title.textContent = model.get("label");
      const points = model.get("points");
      const { width, height } = box.getBoundingClientRect();
      box.dataset.points = String(points.length);
      svg.replaceChildren();
      tip.hidden = true;
      if (points.length < 2 || width < 80) {
        at = null;
        svg.append(shape("text", { x: width / 2 - 60, y: height / 2 }, "no bar processed yet"));
        return;
      }
      const [first, last] = [points[0][0], points[points.length - 1][0]];
      const values = points.map((point) => point[1]);
      const base = model.get("base");
      const lowest = Math.min(...values, base ?? Infinity);
      const highest = Math.max(...values, base ?? -Infinity);
      const pad = (highest - lowest) * 0.08 || Math.abs(highest) * 0.01 || 1;
      const [low, high] = [lowest - pad, highest + pad];
      const [right, bottom] = [width - EDGE.right, height - EDGE.bottom];
      const x = (ms) => EDGE.left + ((ms - first) / (last - first)) * (right - EDGE.left);
      const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - EDGE.top);
      for (const tick of ticks(low, high, 4)) {
        svg.append(shape("line", { class: "grid", x1: EDGE.left, x2: right, y1: y(tick), y2: y(tick) }),
          shape("text", { x: right + 8, y: y(tick) + 4 }, grouped(String(tick), 2).replace(/\.00$/, "")));
      }
      const marks = Math.max(2, Math.min(6, Math.floor(width / 170)));
      for (let mark = 0; mark < marks; mark += 1) {
        const ms = first + ((last - first) * mark) / (marks - 1);
        const anchor = mark === 0 ? "start" : mark === marks - 1 ? "end" : "middle";
        svg.append(shape("text", { x: x(ms), y: height - 6, "text-anchor": anchor }, day(ms, last - first)));
      }
      if (base !== null) svg.append(shape("line", { class: "base", x1: EDGE.left, x2: right, y1: y(base), y2: y(base) }));
      const path = points.map(([ms, value], i) => `${i ? "L" : "M"}${x(ms).toFixed(1)},${y(value).toFixed(1)}`).join("");
      svg.append(shape("path", { class: "area", d: `${path}L${right},${bottom}L${EDGE.left},${bottom}Z` }),
        shape("path", { class: "line", d: path }), hover);
      hover.replaceChildren();
      at = { points, x, y, first, last, right, bottom };
    };

    box.onpointermove = (event) => {
      if (!at) return;
      const place = event.clientX - box.getBoundingClientRect().left;
      const ms = at.first + ((place - EDGE.left) / (at.right - EDGE.left)) * (at.last - at.first);
      const point = at.points.reduce((best, next) => (Math.abs(next[0] - ms) < Math.abs(best[0] - ms) ? next : best));
      const [px, py] = [at.x(point[0]), at.y(point[1])];
      hover.replaceChildren(shape("line", { class: "cross", x1: px, x2: px, y1: EDGE.top, y2: at.bottom }),
        shape("circle", { class: "dot", cx: px, cy: py, r: 4.5 }));
      tip.textContent = `${new Date(point[0]).toISOString().slice(0, 16).replace("T", " ")} UTC · ${grouped(String(point[1]), 2)}`;
      tip.hidden = false;
      tip.style.left = `${Math.min(Math.max(px - tip.offsetWidth / 2, 0), at.right - tip.offsetWidth)}px`;
      tip.style.top = `${Math.max(py - 38, 0)}px`;
    };
    box.onpointerleave = () => { hover.replaceChildren(); tip.hidden = true; };

    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    };
    const resize = new ResizeObserver(later);
    resize.observe(box);
    const stopText = follow(model, ["points", "label", "base"], later);
    const stopAge = ageOf(model, age);
    return () => { resize.disconnect(); stopText(); stopAge(); };
  },
};
