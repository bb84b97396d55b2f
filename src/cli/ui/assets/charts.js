// Curves over time: uPlot in the colours of the page, with a sentence beside each for those who do
// not see it.

import { h } from "./dom.js";
import { clock } from "./format.js";

/** A chart of several curves. `series` are `[label, colour variable, formatted]`. */
export function chart(title, series, height = 150) {
  const holder = h("div", { class: "plot", role: "img", "aria-label": title });
  const sentence = h("p", { class: "latest" });
  const element = h("figure", { class: "card chart" }, h("figcaption", {}, title), holder, sentence);
  let plot = null;
  let shown = null;

  // A canvas knows no variables: an element resolves them, for the scheme of now.
  const colour = (name) => {
    holder.style.color = `var(${name})`;
    return getComputedStyle(holder).color;
  };
  const draw = () => {
    plot?.destroy();
    plot = null;
    if (shown === null || holder.clientWidth === 0) return;
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    plot = new uPlot({
      width: holder.clientWidth, height, cursor: { show: false }, legend: { show: false },
      padding: [8, 8, 0, 0],
      scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most, 1) * 1.1] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => clock(tick).slice(0, 5)) }, { ...axis, size: 52, values: (_, ticks) => ticks.map(series[0][2]) }],
      series: [{}, ...series.map(([label, name]) => ({
        label, stroke: colour(name), width: 1.5, points: { show: shown[0].length < 3 }, spanGaps: false,
      }))],
    }, shown, holder);
  };

  const sizes = new ResizeObserver(draw);
  sizes.observe(holder);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);

  return {
    element,
    /** Shows columns: the times, then one for each curve. */
    update(columns) {
      shown = columns;
      if (plot === null) draw();
      else plot.setData(shown);
      const latest = series.map(([label, name, formatted], at) => {
        const value = columns[at + 1].at(-1);
        return h("span", {}, h("i", { class: "swatch", "data-colour": name.slice(2) }),
          `${label} ${value === null || value === undefined ? "–" : formatted(value)}`);
      });
      sentence.replaceChildren(...latest);
      holder.setAttribute("aria-label", `${title}. Latest minute: ${latest.map((item) => item.textContent).join(", ")}`);
    },
    close() {
      sizes.disconnect();
      scheme.removeEventListener("change", draw);
      plot?.destroy();
    },
  };
}
