export default {
  render({ model, el }) {
    const age = node("span", { class: "cu-age" });
    const label = node("span", { class: "cu-label" });
    const value = node("div", { class: "cu-value" });
    const note = node("div", { class: "cu-note" });
    el.append(node("div", { class: "cu cu-card", "data-figure": model.get("label").toLowerCase() },
      node("div", { class: "cu-top" }, label, age), value, note));
    const stopText = follow(model, ["label", "value", "unit", "note", "tone", "digits"], () => {
      const exact = model.get("value");
      label.textContent = model.get("label");
      value.title = exact;
      value.dataset.value = exact;
      value.replaceChildren(exact === "" ? "–" : grouped(exact, model.get("digits")) + " ", node("small", {}, model.get("unit")));
      note.textContent = model.get("note");
      note.dataset.tone = model.get("tone");
    });
    const stopAge = ageOf(model, age);
    return () => { stopText(); stopAge(); };
  },
};
