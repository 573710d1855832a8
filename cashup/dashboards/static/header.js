const THEME = "cashup-theme";

function themeButton() {
  const root = document.documentElement;
  const saved = localStorage.getItem(THEME);
  if (saved) root.dataset.cashupTheme = saved;
  const dark = () => root.dataset.cashupTheme
    ? root.dataset.cashupTheme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const button = node("button", { class: "cu-theme", type: "button" });
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.onclick = () => {
    root.dataset.cashupTheme = dark() ? "light" : "dark";
    localStorage.setItem(THEME, root.dataset.cashupTheme);
    label();
  };
  label();
  return button;
}

export default {
  render({ model, el }) {
    const title = node("span");
    const worker = node("span", { class: "cu-pill", "data-figure": "worker" });
    const link = node("span", { class: "cu-pill", "data-figure": "link", role: "status" });
    el.append(node("div", { class: "cu cu-header" },
      node("h1", {}, "CashUp ", title), node("div", { class: "cu-space" }), worker, link, themeButton()));
    const stopText = follow(model, ["title", "worker", "tone"], () => {
      title.textContent = model.get("title");
      worker.textContent = model.get("worker");
      worker.dataset.tone = model.get("tone");
    });
    const stopWatch = stopwatch(model, (seconds) => {
      const stale = seconds === null || seconds >= model.get("patience");
      document.documentElement.toggleAttribute("data-cashup-stale", stale);
      link.dataset.tone = stale ? "bad" : "good";
      link.textContent = seconds === null ? "waiting for data" : stale ? `no data for ${spell(seconds)}` : "live";
    });
    return () => { stopText(); stopWatch(); };
  },
};
