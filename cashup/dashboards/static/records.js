export default {
  render({ model, el }) {
    const age = node("span", { class: "cu-age" });
    const title = node("span", { class: "cu-label" });
    const body = node("div", { class: "cu-scroll" });
    el.append(node("div", { class: "cu cu-card", "data-figure": model.get("title").toLowerCase() },
      node("div", { class: "cu-top" }, title, age), body));

    const cell = (row, column) => {
      const text = row[column.key] ?? "";
      const shown = column.digits === undefined ? text : grouped(text, column.digits);
      const tone = (column.tones ?? {})[text];
      return node("td", { class: column.digits === undefined ? null : "num", title: text, "data-tone": tone }, shown);
    };
    const stopText = follow(model, ["title", "columns", "rows", "empty"], () => {
      title.textContent = model.get("title");
      const columns = model.get("columns");
      const rows = model.get("rows");
      if (rows.length === 0) {
        body.replaceChildren(node("div", { class: "cu-empty" }, model.get("empty")));
        return;
      }
      const head = node("tr", {}, ...columns.map((column) =>
        node("th", { class: column.digits === undefined ? null : "num" }, column.label)));
      const lines = rows.map((row) => node("tr", { "data-key": row.key }, ...columns.map((column) => cell(row, column))));
      body.replaceChildren(node("table", {}, node("thead", {}, head), node("tbody", {}, ...lines)));
    });
    const stopAge = ageOf(model, age);
    return () => { stopText(); stopAge(); };
  },
};
