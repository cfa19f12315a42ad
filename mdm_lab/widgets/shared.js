// What the explorable figures share. A figure's own file follows in the same function, which is
// given COLOURS and MASKED; nothing becomes global but window.mdmLab, for tests.

const INK = "#1a1a1a", MUTED = "#595959", GRID = "#e6e6e6";
const DASHES = [null, "8 4", "2 3", "9 3 2 3"];  // lines differ by more than colour

// The namespace of SVG, asked of the browser, so that no address stands in a page's scripts.
const SVG = (() => {
  const holder = document.createElement("template");
  holder.innerHTML = "<svg></svg>";
  return holder.content.firstChild.namespaceURI;
})();

// An HTML element; a function among the attributes listens to the event of that name.
const make = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

// The same for a part of a drawing.
const draw = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity));
  return node;
}

const words = (x, y, content, attributes) =>
  draw("text", { x, y, fill: INK, "font-size": 13, ...attributes }, content);

// Numbers drawn uniformly from [0, 1), the same for the same seed (mulberry32).
function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), seed | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
}

// Three significant digits, without an exponent.
const short = (x) => (x === 0 ? "0" : Math.abs(x) < 1e-6 ? "below 0.000001"
  : Number(x.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 }));
const percent = (p) => (p > 0 && p < 1e-4 ? "below 0.01%"
  : p < 1 && p > 0.9995 ? "above 99.95%" : `${short(100 * p)}%`);
const count = (n) => (n < 1e7 ? Math.round(n).toLocaleString("en")
  : n.toExponential(1).replace(/e\+?(\d+)/, " × 10^$1"));

// A line of text that is also read out, at most twice a second, the latest message winning.
function speaker() {
  const region = make("p", { class: "mdm-status", role: "status", "aria-live": "polite" });
  let latest = "", resting = false;
  function say(text) {
    latest = text;
    if (resting || region.textContent === latest) return;
    region.textContent = latest;
    resting = true;
    setTimeout(() => { resting = false; say(latest); }, 500);
  }
  return { region, say };
}

// A labelled <select>; options are [value, text].
function choice(name, options, value, changed) {
  const field = make("select", { change: () => changed(field.value) });
  const offer = (list, chosen, fixed) => {
    field.replaceChildren(...list.map(([key, text]) => make("option", { value: key }, text)));
    field.value = chosen;
    field.disabled = Boolean(fixed);
  };
  offer(options, value);
  const wide = options.some(([, text]) => String(text).length > 13);  // more than fits beside another
  return { element: make("label", { class: wide && "mdm-wide" }, make("span", { class: "mdm-name" }, name), field), offer };
}

// A labelled slider over the entries of a list; text(entry) is what it shows and what is read out.
function slider(name, list, value, text, moved) {
  const shown = make("span", { class: "mdm-value" });
  const field = make("input", {
    type: "range", min: 0, max: list.length - 1, step: 1, "aria-label": name,
    input: () => { tell(); moved(list[field.value]); },
  });
  const tell = () => {
    shown.textContent = text(list[field.value]);
    field.setAttribute("aria-valuetext", shown.textContent);
  };
  field.value = Math.max(0, list.indexOf(value));
  tell();
  return make("label", {}, make("span", { class: "mdm-name" }, name, shown), field);
}

// A button; `enable` greys it out without taking the keyboard's focus away from it.
function button(text, pressed, kind) {
  const element = make("button", {
    type: "button", class: kind, click: () => element.ariaDisabled !== "true" && pressed(),
  }, text);
  const enable = (on) => element.setAttribute("aria-disabled", String(!on));
  return { element, enable };
}

// Axes with a grid, drawn at the size at which they are shown. x and y are
// {low, high, log, ticks: [[value, text], ...], label}; `inside` is clipped to the plot.
function chart(width, height, x, y, attributes, top = 10) {
  const left = 62, right = 14, bottom = 44;
  const wide = width - left - right, high = height - top - bottom;
  const part = (axis, value) => {
    const on = axis.log ? Math.log : (v) => v;
    return (on(value) - on(axis.low)) / (on(axis.high) - on(axis.low));
  };
  const px = (value) => left + wide * part(x, value);
  const py = (value) => top + high * (1 - part(y, value));
  const inside = draw("svg", {
    x: left, y: top, width: wide, height: high, viewBox: `${left} ${top} ${wide} ${high}`,
  });
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", ...attributes },
    x.ticks.map(([value, text]) => [
      draw("line", { x1: px(value), x2: px(value), y1: top, y2: top + high, stroke: GRID }),
      words(px(value), top + high + 17, text, { "text-anchor": "middle", "font-size": 12 }),
    ]),
    y.ticks.map(([value, text]) => [
      draw("line", { x1: left, x2: left + wide, y1: py(value), y2: py(value), stroke: GRID }),
      words(left - 7, py(value) + 4, text, { "text-anchor": "end", "font-size": 12 }),
    ]),
    draw("path", { d: `M${left} ${top}v${high}h${wide}`, fill: "none", stroke: MUTED }),
    words(left + wide / 2, height - 6, x.label, { "text-anchor": "middle" }),
    words(0, 0, y.label, {
      "text-anchor": "middle", transform: `translate(12 ${top + high / 2}) rotate(-90)`,
    }),
    inside);
  const value = (pixel) => x.low + (x.high - x.low) * ((pixel - left) / wide);
  return { svg, inside, px, py, value, left, top, wide, high };
}

const path = (points, look) => draw("path", {
  d: points.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join(""),
  fill: "none", "stroke-linejoin": "round", ...look,
});

// How series number k is drawn, and the sample of it that stands in a legend.
const look = (k) => ({ stroke: COLOURS[k], "stroke-width": 2.5, "stroke-dasharray": DASHES[k] });
const swatch = (attributes) => draw("svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true" },
  draw("line", { x1: 0, x2: 30, y1: 6, y2: 6, ...attributes }));

// Calls redraw(width) now and whenever the width of `element` changes.
function follow(element, redraw) {
  let last = 0;
  const measure = () => {
    const width = Math.round(element.clientWidth) || last || 640;
    if (width !== last) redraw((last = width));
  };
  measure();
  if (window.ResizeObserver) new ResizeObserver(measure).observe(element);
}

// Brings every figure of this name to life that is not alive yet; where that fails its still
// picture stays.
function mount(name, begin) {
  const waiting = `figure.mdm-explorable[data-figure="${name}"]:not([data-mounted])`;
  for (const figure of document.querySelectorAll(waiting)) {
    const live = make("div", { class: "mdm-live" });
    figure.append(live);
    try {
      begin(live, JSON.parse(figure.querySelector("script[type='application/json']").textContent));
      figure.setAttribute("data-mounted", "");
    } catch (error) {
      live.remove();
      console.error(error);
    }
  }
}

const mdmLab = (window.mdmLab = window.mdmLab || {});
mdmLab.seeded = seeded;
