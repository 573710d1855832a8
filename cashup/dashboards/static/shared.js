// What every widget shares. Each widget is this text followed by its own: no import, nothing from the network.

function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function grouped(text, digits) {
  const number = Number(text);
  if (text === "" || text === null || !Number.isFinite(number)) return text ?? "";
  return number.toLocaleString("en-US", { minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
}

function spell(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

// `seen` is [count, age in ms when it was sent]: the page counts on from there by its own stopwatch, so that a wrong
// clock in the browser cannot make old data look fresh.
function stopwatch(model, show) {
  let start = null;
  const restart = () => {
    const [count, age] = model.get("seen");
    start = count === 0 ? null : performance.now() - age;
    tick();
  };
  const tick = () => show(start === null ? null : (performance.now() - start) / 1000);
  model.on("change:seen", restart);
  restart();
  const timer = setInterval(tick, 250);
  return () => { clearInterval(timer); model.off("change:seen", restart); };
}

function ageOf(model, element) {
  return stopwatch(model, (seconds) => {
    const text = seconds === null ? "no data yet" : seconds < 1 ? "now" : `${spell(seconds)} ago`;
    if (element.textContent !== text) element.textContent = text;
    element.dataset.seconds = seconds === null ? "" : String(Math.floor(seconds));
  });
}

function follow(model, names, draw) {
  const events = names.map((name) => `change:${name}`).join(" ");
  model.on(events, draw);
  draw();
  return () => model.off(events, draw);
}
