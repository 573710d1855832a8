// The pictures follow the page: light or dark ink on no ground of their own, and light for the printer.
const dark = matchMedia("(prefers-color-scheme: dark)");
const printing = matchMedia("print");
const paint = () => {
  const night = dark.matches && !printing.matches;
  document.querySelectorAll(".js-plotly-plot").forEach((plot) => {
    const change = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": night ? "#c9d1d9" : "#24292f" };
    Object.keys(plot.layout).filter((name) => /^[xy]axis\d*$/.test(name)).forEach((axis) => {
      change[axis + ".gridcolor"] = night ? "#30363d" : "#e6eaef";
      change[axis + ".zerolinecolor"] = night ? "#484f58" : "#d0d7de";
    });
    if (matchMedia("(max-width: 560px)").matches) { change["margin.l"] = 46; change["margin.r"] = 6; change["updatemenus[0].visible"] = false; }
    Plotly.relayout(plot, change);
  });
};
paint();
dark.addEventListener("change", paint);
printing.addEventListener("change", paint);
