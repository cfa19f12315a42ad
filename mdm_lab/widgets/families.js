// One picture for every setting of the controls; all numbers come with the page.

const MARKERS = [
  "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", "m-4 -4h8v8h-8z", "m0 -5l5 9h-10z", "m0 -5l5 5l-5 5l-5 -5z",
];
const RULE = { stroke: INK, "stroke-width": 1.5, "stroke-dasharray": "5 3" };
const isRule = ({ kind }) => kind === "level" || kind === "upright";
const hollow = (k) => ({ fill: k % 2 ? "#fff" : COLOURS[k], stroke: COLOURS[k], "stroke-width": k % 2 ? 2 : 1 });

// White at the low end of the scale, the first colour at its high end, and a text that shows on it.
function shade(value, { low, high }) {
  const part = Math.min(1, Math.max(0, (value - low) / (high - low)));
  const full = [1, 3, 5].map((k) => parseInt(COLOURS[0].slice(k, k + 2), 16));
  return { fill: `rgb(${full.map((c) => Math.round(255 + part * (c - 255)))})`, ink: part > 0.93 ? "#fff" : "#000" };
}

// What a mark adds to a plot: its number among the series, and among the bars.
function drawMark(plot, { chart: at, x, y, gap, z }, { kind, fields: [xs, ys, low, high] }, k, slot, slots) {
  const colour = COLOURS[k], { px, py } = at;
  const line = (x1, y1, x2, y2, stroke) => draw("line", { x1, y1, x2, y2, ...stroke });
  if (kind === "level") return line(at.left, py(xs[0]), at.left + at.wide, py(xs[0]), RULE);
  if (kind === "upright") return line(px(xs[0]), at.top, px(xs[0]), at.top + at.high, RULE);
  if (kind === "cells") {
    const wide = at.wide / x.names.length, high = at.high / y.names.length;
    return xs.map((value, cell) => {
      const left = at.left + wide * (cell % x.names.length), top = at.top + high * Math.floor(cell / x.names.length);
      const { fill, ink } = shade(value, z), text = String(Number(value.toPrecision(2)));
      return [draw("rect", { x: left, y: top, width: wide, height: high, fill, stroke: "#fff" }),
        wide < 7 * text.length || high < 16 ? [] : words(left + wide / 2, top + high / 2 + 4, text, { "text-anchor": "middle", "font-size": 11, fill: ink })];
    });
  }
  const width = (kind === "bars" ? 0.8 * at.wide * gap / (x.high - x.low) : 0) / slots;
  const middle = (j) => px(xs[j]) + width * (slot + 0.5 - slots / 2);
  const place = ys.map((value, j) => [middle(j), py(value)]);
  if (kind === "line") {
    const edge = low && [...low.map((v, j) => [px(xs[j]), py(v)]), ...high.map((v, j) => [px(xs[j]), py(v)]).reverse()];
    return [low ? path(edge, { fill: colour, "fill-opacity": 0.2 }) : [], path(place, look(k))];
  }
  return place.map(([left, top], j) => [
    kind === "bars" ? draw("rect", { x: left - width / 2, y: Math.min(top, py(0)), width, height: Math.abs(py(0) - top), ...hollow(k) }) : [],
    low ? line(left, py(low[j]), left, py(high[j]), { stroke: kind === "bars" ? INK : colour, "stroke-width": 2 }) : [],
    kind === "points" ? draw("path", { d: `M${left.toFixed(2)} ${top.toFixed(2)}${MARKERS[k]}`, fill: colour }) : [],
  ]);
}

const picture = (...children) => draw("svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true" }, children);

function key({ z }, { kind, name, fields: [first] }, k) {
  if (kind === "level") return [swatch(RULE), `${name}: ${first[0]}`];
  if (kind === "upright") return [picture(draw("path", { d: "M15 0v12", ...RULE })), `${name}: ${first[0]}`];
  if (kind === "line") return [swatch(look(k)), name];
  if (kind === "bars") return [picture(draw("path", { d: "M6 1h18v10h-18z", ...hollow(k) })), name];
  if (kind === "points") return [picture(draw("path", { d: `M15 6${MARKERS[k]}`, fill: COLOURS[k] })), name];
  const ramp = [0, 1, 2, 3, 4].map((j) => draw("path", { d: `M${6 * j} 1h6v10h-6z`, fill: shade(j, { low: 0, high: 4 }).fill, stroke: MUTED }));
  return [picture(ramp), `${name}: from ${z.low} (white) to ${z.high}`];
}

// The numbers of a plot as rows of a table, the first row and the first column being headings.
function tableOf({ x, y }, marks) {
  const cells = marks.find(({ kind }) => kind === "cells");
  if (cells) {
    const wide = x.names.length;
    return [["", ...x.names], ...y.names.map((name, r) => [name, ...cells.fields[0].slice(r * wide, (r + 1) * wide)])];
  }
  const columns = marks.filter((mark) => !isRule(mark)).flatMap(({ name, fields: [xs, ...rest] }) =>
    rest.map((field, j) => [[name, `${name}, low`, `${name}, high`][j], new Map(xs.map((value, i) => [value, field[i]]))]));
  const places = [...new Set(columns.flatMap(([, column]) => [...column.keys()]))].sort((a, b) => a - b);
  return [[x.label, ...columns.map(([name]) => name)],
    ...places.map((value) => [x.names ? x.names[value] : value, ...columns.map(([, column]) => column.get(value) ?? "")])];
}

mount("family", (live, { controls, pool, told, plots }) => {
  const chosen = controls.map(({ start }) => start);
  const setting = () => chosen.reduce((index, k, c) => index * controls[c].shown.length + k, 0);
  const { region, say } = speaker();
  let width = 360;

  const parts = plots.map((plot) => {
    const drawing = make("div"), legend = make("ul", { class: "mdm-key" }), table = make("table");
    const element = make("div", {}, plot.title ? make("p", { class: "mdm-title" }, plot.title) : [], drawing, legend);
    const scroll = make("div", { class: "mdm-table", role: "region", tabindex: 0, "aria-label": plot.title || plot.y.label }, table);
    return { plot, drawing, legend, table, element, scroll };
  });

  const marksOf = ({ views }) => pool[views[setting()]].map(([kind, name, ...fields]) =>
    ({ kind, name: pool[name], fields: fields.map((number) => pool[number]) }));

  function show({ plot, drawing, legend }) {
    const marks = marksOf(plot), bars = marks.filter(({ kind }) => kind === "bars");
    const names = marks.filter((mark) => !isRule(mark)).map(({ name }) => name).join("; ");
    const label = `${plot.y.label} against ${plot.x.label}: ${names}. The numbers are in the table below.`;
    const axes = chart(width, 280, plot.x, plot.y, { role: "img", "aria-label": label });
    let k = 0;
    legend.replaceChildren(...marks.map((mark) => {
      const bar = mark.kind === "bars";
      const drawn = drawMark(plot, { ...plot, chart: axes }, mark, k, bar ? bars.indexOf(mark) : 0, bar ? bars.length : 1);
      axes.svg.append(...[drawn].flat(Infinity));
      const entry = make("li", {}, key(plot, mark, k));
      if (!isRule(mark)) k++;
      return entry;
    }));
    drawing.replaceChildren(axes.svg);
  }

  const tabulate = () => parts.forEach(({ plot, table }) => {
    const [head, ...rows] = numbers.open ? tableOf(plot, marksOf(plot)) : [[]];
    const cell = (tag, scope) => (value) => make(tag, { scope }, String(value));
    table.replaceChildren(
      make("thead", {}, make("tr", {}, head.map((word) => word ? cell("th", "col")(word) : make("td", {})))),
      make("tbody", {}, rows.map(([first, ...rest]) => make("tr", {}, cell("th", "row")(first), rest.map(cell("td"))))));
  });

  function refresh() {
    parts.forEach(show);
    tabulate();
  }

  const fields = controls.map(({ name, shown, slider: slides, start }, c) => {
    const moved = (k) => { chosen[c] = Number(k); refresh(); say(pool[told[setting()]]); };
    return slides ? slider(name, shown.map((_, k) => k), start, (k) => shown[k], moved)
      : choice(name, shown.map((text, k) => [k, text]), start, moved).element;
  });
  const numbers = make("details", { toggle: tabulate },
    make("summary", {}, "Show the numbers"), parts.map(({ scroll }) => scroll));

  live.append(
    make("div", { class: "mdm-fields" }, fields),
    make("div", { class: parts.length > 1 ? "mdm-two" : null }, parts.map(({ element }) => element)),
    region, numbers);
  follow(parts[0].element, (now) => { width = now; refresh(); });
  say(pool[told[setting()]]);
});
