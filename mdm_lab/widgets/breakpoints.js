// Where the steps of a sampler should lie under the information curve of a language.

// f(u)/L from its Chebyshev coefficients on [0, 1] (Clenshaw's recurrence).
function curveAt(coefficients, u) {
  const x = 2 * u - 1;
  let next = 0, after = 0;
  for (let k = coefficients.length - 1; k > 0; k--)
    [next, after] = [coefficients[k] + 2 * x * next - after, next];
  return coefficients[0] + x * next - after;
}

// Its integral over [0, 1]: the entropy of a sequence, a token.
const integral = (coefficients) =>
  coefficients.reduce((sum, c, k) => sum + (k % 2 ? 0 : c / (1 - k * k)), 0);

// The left-Riemann error of steps that begin at 0, inner[0], inner[1], ... and end at 1.
function riemannError(coefficients, inner) {
  const u = [0, ...inner, 1];
  let sum = 0;
  for (let k = 0; k + 1 < u.length; k++) sum += (u[k + 1] - u[k]) * curveAt(coefficients, u[k]);
  return sum - integral(coefficients);
}

const uniformSteps = (steps) => Array.from({ length: steps - 1 }, (_, k) => (k + 1) / steps);

mdmLab.informationSteps = { curveAt, integral, riemannError, uniformSteps };

mount("information-steps", (live, data) => {
  const GAP = 0.002;  // between neighbouring breakpoints
  const RAIL = 22, KNOB = 26;  // height of the knobs' middle, and the room that each one takes
  const { region, say } = speaker();
  let world = data.worlds[data.start.world], steps = data.start.steps;
  let inner = uniformSteps(steps), width = 640, plot, handles = [], lost, stairs;

  const nats = (error) => `${short(error)} nats`;
  const errors = () => {
    const best = riemannError(world.coefficients, world.best[steps]);
    return { yours: riemannError(world.coefficients, inner),
      uniform: riemannError(world.coefficients, uniformSteps(steps)), best };
  };

  function sentence() {
    const { yours, uniform, best } = errors();
    const against = (other) => {
      const change = yours / other - 1;
      return Math.abs(change) < 5e-4 ? "as much as" : `${short(100 * Math.abs(change))}% ${change > 0 ? "more" : "less"} than`;
    };
    return `${steps} steps lose ${nats(yours)} a token: ${against(uniform)} uniform steps, ${against(best)} the best.`;
  }

  // Everything that moves with the breakpoints.
  function refresh() {
    const u = [0, ...inner, 1], f = (at) => curveAt(world.coefficients, at);
    const at = (x, y) => `${plot.px(x).toFixed(2)} ${plot.py(y).toFixed(2)}`;
    let area = "", line = `M${at(0, f(0))}`;
    for (let k = 0; k < steps; k++) {
      const points = Array.from({ length: 25 }, (_, j) => u[k + 1] + (u[k] - u[k + 1]) * (j / 24));
      area += `M${at(u[k], f(u[k]))}L${at(u[k + 1], f(u[k]))}L${points.map((x) => at(x, f(x))).join("L")}Z`;
      line += `L${at(u[k], f(u[k]))}L${at(u[k + 1], f(u[k]))}`;
    }
    lost.setAttribute("d", area);
    stairs.setAttribute("d", line);
    const knobs = spread(inner.map(plot.px));
    handles.forEach((handle, k) => {
      const x = plot.px(inner[k]), [line, knob] = handle.children;
      line.setAttribute("d", `M${knobs[k]} ${RAIL}L${x} ${plot.top}V${plot.top + plot.high}`);
      knob.setAttribute("transform", `translate(${knobs[k].toFixed(2)} ${RAIL})`);
      const reach = (other) => Math.min(22, Math.abs(knobs[k] - (knobs[other] ?? Infinity)) / 2);
      const hit = knob.firstChild;
      hit.setAttribute("x", -reach(k - 1));
      hit.setAttribute("width", reach(k - 1) + reach(k + 1));
      const [low, high] = limits(k);
      handle.setAttribute("aria-valuemin", low.toFixed(3));
      handle.setAttribute("aria-valuemax", high.toFixed(3));
      handle.setAttribute("aria-valuenow", inner[k].toFixed(3));
      handle.setAttribute("aria-valuetext", inner[k].toFixed(3));
    });
    const found = errors(), most = Math.max(...Object.values(found));
    bars.replaceChildren(...[["yours", "Yours"], ["uniform", "Uniform"], ["best", "Best"]].flatMap(([key, name], k) => {
      const bar = make("i", { "aria-hidden": "true" });
      bar.style.width = `${most > 0 ? Math.max(0, 100 * found[key] / most) : 0}%`;
      bar.style.borderColor = [COLOURS[1], MUTED, COLOURS[2]][k];
      bar.style.background = key === "yours" ? COLOURS[1] : "#fff";
      return [make("span", {}, name), make("span", {}, bar), make("span", {}, nats(found[key]))];
    }));
  }

  // Where the knobs lie: above their breakpoints, but never on top of each other.
  function spread(places) {
    const out = [...places];
    for (let k = 1; k < out.length; k++) out[k] = Math.max(out[k], out[k - 1] + KNOB);
    const last = out.length - 1;
    for (let k = last; k >= 0; k--)
      out[k] = Math.min(out[k], k === last ? plot.left + plot.wide : out[k + 1] - KNOB);
    return out;
  }

  const limits = (k) => [(k ? inner[k - 1] : 0) + GAP, (k + 1 < inner.length ? inner[k + 1] : 1) - GAP];

  function moveTo(k, u) {
    const [low, high] = limits(k);
    inner[k] = Math.min(Math.max(u, Math.min(low, inner[k])), Math.max(high, inner[k]));
    refresh();
    say(sentence());
  }

  function pressed(k, event) {
    const by = event.shiftKey ? 0.001 : 0.01, [low, high] = limits(k);
    const targets = {
      ArrowLeft: inner[k] - by, ArrowDown: inner[k] - by, ArrowRight: inner[k] + by, ArrowUp: inner[k] + by,
      PageDown: inner[k] - 0.05, PageUp: inner[k] + 0.05, Home: low, End: high,
    };
    if (!(event.key in targets) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    moveTo(k, targets[event.key]);
  }

  function makeHandle(k) {
    const where = (event) => plot.value((event.clientX - plot.svg.getBoundingClientRect().left)
      * (width / plot.svg.getBoundingClientRect().width));
    let held = null;  // how far from the breakpoint the pointer took it
    return draw("g", {
      class: "mdm-handle", role: "slider", tabindex: 0, "aria-label": `Breakpoint ${k + 1} of ${steps - 1}`,
      keydown: (event) => pressed(k, event),
      pointerdown: (event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        event.currentTarget.focus({ preventScroll: true });
        held = where(event) - inner[k];
      },
      pointermove: (event) => { if (held !== null) moveTo(k, where(event) - held); },
      pointerup: () => { held = null; },
      pointercancel: () => { held = null; },
    },
    draw("path", { fill: "none", stroke: COLOURS[0], "stroke-dasharray": "2 3" }),
    draw("g", {},
      draw("rect", { y: -RAIL, height: 2 * RAIL, fill: "transparent" }),
      draw("circle", { class: "mdm-ring", r: 15, fill: "#fff", stroke: COLOURS[0], "stroke-width": 3 }),
      draw("circle", { r: 11, fill: "#fff", stroke: COLOURS[0], "stroke-width": 2.5 }),
      words(0, 4.5, String(k + 1), { "text-anchor": "middle", "font-weight": 600 })));
  }

  function rebuild() {
    const focused = handles.indexOf(document.activeElement), { coefficients } = world;
    const first = curveAt(coefficients, 0), grid = Array.from({ length: 201 }, (_, k) => k / 200);
    const stride = first > 0.9 ? 0.5 : first > 0.4 ? 0.2 : 0.1;
    const ticks = Array.from({ length: Math.floor(1.08 * first / stride) + 1 }, (_, k) => [k * stride, short(k * stride)]);
    plot = chart(width, Math.min(360, Math.max(300, width / 2)),
      { low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1].map((u) => [u, String(u)]), label: "share of tokens visible, u" },
      { low: 0, high: 1.08 * first, ticks, label: "f(u)/L, nats" },
      { role: "group", "aria-label": `Information curve of ${world.name} with ${steps} steps above it` },
      2 * RAIL);
    lost = draw("path", { fill: COLOURS[1], "fill-opacity": 0.3 });
    stairs = draw("path", { fill: "none", stroke: COLOURS[1], "stroke-width": 2 });
    plot.inside.append(lost, stairs, path(grid.map((u) => [plot.px(u), plot.py(curveAt(coefficients, u))]), { stroke: COLOURS[0], "stroke-width": 3 }));
    handles = inner.map((_, k) => makeHandle(k));
    plot.svg.append(...handles);
    drawing.replaceChildren(plot.svg);
    refresh();
    if (focused >= 0 && handles[focused]) handles[focused].focus();
  }

  const set = (list) => { inner = [...list]; rebuild(); say(sentence()); };
  const names = data.worlds.map(({ name }, k) => [k, name]);
  const worldField = choice("Language", names, data.start.world, (value) => {
    world = data.worlds[value];
    note.textContent = world.note;
    set(inner);
  });
  const stepsField = choice("Steps N", [2, 3, 4, 5, 6, 7, 8].map((n) => [n, String(n)]), steps,
    (value) => { steps = Number(value); set(uniformSteps(steps)); });
  const uniform = button("Uniform steps", () => set(uniformSteps(steps)));
  const best = button("Best steps", () => set(world.best[steps]));
  const note = make("p", {}, world.note);
  const drawing = make("div"), bars = make("div", { class: "mdm-bars" });

  live.append(
    make("p", {}, "Drag the numbered breakpoints, or move them with the arrow keys, until the shaded area is as small as you can make it."),
    make("div", { class: "mdm-fields" }, worldField.element, stepsField.element),
    note, drawing,
    make("ul", { class: "mdm-key" },
      make("li", {}, swatch({ stroke: COLOURS[0], "stroke-width": 3 }), "information curve f(u)/L"),
      make("li", {}, draw("svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true" },
        draw("path", { d: "M0 2h30v10h-30z", fill: COLOURS[1], "fill-opacity": 0.3 }),
        draw("path", { d: "M0 2h30", stroke: COLOURS[1], "stroke-width": 2 })), "what the steps lose")),
    make("div", { class: "mdm-row" }, uniform.element, best.element),
    region, bars);
  follow(live, (now) => { width = now; rebuild(); });
  say(sentence());
});
