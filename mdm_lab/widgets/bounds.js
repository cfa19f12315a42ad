// The two theorems as curves: steps for a token error rate, and what N steps do to whole sequences.

const ngramSteps = (n, epsilon) => Math.ceil((n - 1) / epsilon ** (n + 0.5));
const stepsForExcess = (epsilon) => Math.ceil(1 / (4 * epsilon));

// The least chance that draws from two laws within `learning` of the uniform one differ: the law
// (a, b, ..., b) at that distance, whose 1 - a is found by bisection on its logarithm.
function leastMismatch(vocab, learning) {
  if (learning === 0) return 1 - 1 / vocab;
  const divergence = (rest) =>
    -(Math.log1p(-rest) + (vocab - 1) * Math.log(rest / (vocab - 1))) / vocab - Math.log(vocab);
  let low = -vocab * (learning + Math.log(vocab)) - 40, high = Math.log((vocab - 1) / vocab);
  for (let round = 0; round < 200; round++) {
    const middle = (low + high) / 2;
    if (divergence(Math.exp(middle)) > learning) low = middle; else high = middle;
  }
  const rest = Math.exp(high);
  return 1 - (1 - rest) ** 2 - rest ** 2 / (vocab - 1);
}

// The error rate of N uniform steps on PAIRS where a pair drawn in one step differs with this chance.
const pairsErrorRate = (mismatch, length, steps) =>
  -Math.expm1(Math.floor(length / 2) * Math.log1p(-mismatch / steps));

const upperBound = (vocab, length, steps, learning) =>
  -Math.expm1(-(length * learning + length * Math.log(vocab) / steps));

const stepsPerToken = (vocab, learning) => leastMismatch(vocab, learning) / (2 * Math.LN2);

mdmLab.theoremCurves = { ngramSteps, stepsForExcess, leastMismatch, pairsErrorRate, upperBound, stepsPerToken };

mount("theorem-curves", (live, data) => {
  const { vocab } = data, at = { ...data.start };
  const { region, say } = speaker();
  let width = 360;

  const errors = (steps) => [
    pairsErrorRate(leastMismatch(vocab, at.learning), at.length, steps),
    pairsErrorRate(1 - 1 / vocab, at.length, steps),
    upperBound(vocab, at.length, steps, at.learning),
  ];

  const mark = (plot, x, y, colour) => draw("circle", { cx: plot.px(x), cy: plot.py(y), r: 4.5, fill: "#fff", stroke: colour, "stroke-width": 2.5 });
  const upright = (plot, x, attributes) => draw("line", { x1: plot.px(x), x2: plot.px(x), y1: plot.top, y2: plot.top + plot.high, stroke: INK, ...attributes });
  const rows = (list, entries) => list.replaceChildren(...entries.map(([k, name, value]) =>
    make("li", {}, k === null ? [] : swatch(look(k)), make("span", {}, name), make("b", {}, value))));

  function drawTokenPanel() {
    const low = data.epsilons[0], high = data.epsilons[data.epsilons.length - 1], top = 1e9;
    const plot = chart(width, 280,
      { low, high, log: true, ticks: [0.01, 0.03, 0.1, 0.25].map((e) => [e, String(e)]), label: "allowed loss ε, in units of 4 ln V a token" },
      { low: 1, high: top, log: true, ticks: [[1, "1"], [1e2, "100"], [1e4, "10⁴"], [1e6, "10⁶"], [1e8, "10⁸"]], label: "steps N" },
      { role: "img", "aria-label": "Steps against epsilon: the talk's count rises steeply as epsilon falls, 1/(4 epsilon) stays low, the autoregressive model takes L." });
    const grid = Array.from({ length: 241 }, (_, k) => low * (high / low) ** (k / 240));
    const curves = [(e) => ngramSteps(at.n, e), stepsForExcess, () => at.length];
    curves.forEach((steps, k) => {
      plot.inside.append(path(grid.map((e) => [plot.px(e), plot.py(Math.max(1, steps(e)))]), look(k)));
    });
    plot.svg.append(upright(plot, at.epsilon, { "stroke-dasharray": "2 3" }));
    curves.map((steps) => steps(at.epsilon)).forEach((steps, k) => {
      if (steps <= top) plot.svg.append(mark(plot, at.epsilon, steps, COLOURS[k]));
    });
    left.replaceChildren(plot.svg);
    const counts = curves.map((steps) => count(steps(at.epsilon)));
    rows(leftKey, [
      [0, "the talk's count, constant 1", counts[0]],
      [1, "1/(4ε), for every language", counts[1]],
      [2, "autoregressive, L", counts[2]],
    ]);
  }

  function drawSequencePanel() {
    const top = data.steps[data.steps.length - 1];
    const plot = chart(width, 280,
      { low: 1, high: top, log: true, ticks: [1, 16, 256, 4096, 65536].map((n) => [n, String(n)]), label: "steps N" },
      { low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1].map((p) => [p, String(p)]), label: "sequence error rate" },
      { role: "img", "aria-label": "Sequence error rate against steps: all curves fall from 1, and move to the right in proportion to L." });
    const grid = Array.from({ length: 361 }, (_, k) => top ** (k / 360));
    const half = at.length * stepsPerToken(vocab, at.learning);
    [0, 1, 2].forEach((k) => plot.inside.append(
      path(grid.map((n) => [plot.px(n), plot.py(errors(n)[k])]), look(k))));
    plot.svg.append(upright(plot, at.steps, { "stroke-dasharray": "2 3" }));
    errors(at.steps).forEach((error, k) => plot.svg.append(mark(plot, at.steps, error, COLOURS[k])));
    if (half >= 1) {
      const x = plot.px(half), y = plot.py(0.5), end = x > plot.left + 70;
      plot.svg.append(
        draw("path", { d: `M${x} ${y - 8}l7 8l-7 8l-7 -8z`, fill: INK }),
        words(x + (end ? -12 : 14), y + 5, "N = C L", { "text-anchor": end ? "end" : "start", "font-weight": 600, stroke: "#fff", "stroke-width": 4, "paint-order": "stroke" }));
    }
    right.replaceChildren(plot.svg);
    const found = errors(at.steps).map(percent);
    rows(rightKey, [
      [0, "PAIRS, every model: at least", found[0]],
      [1, "PAIRS, exact denoiser", found[1]],
      [2, "every language: at most", found[2]],
      [null, "◆ at least 1/2 up to N = C L =", short(half)],
    ]);
  }

  function refresh() {
    drawTokenPanel();
    drawSequencePanel();
  }

  function sentence() {
    const [talk, simple] = [ngramSteps(at.n, at.epsilon), stepsForExcess(at.epsilon)];
    const half = at.length * stepsPerToken(vocab, at.learning);
    return `L = ${count(at.length)}. Tokens: ${count(simple)} step${simple > 1 ? "s" : ""} suffice at ε = ${at.epsilon}, whatever L; `
      + `the talk's count is ${count(talk)}, ${talk > at.length ? "more" : "no more"} than the autoregressive model takes. `
      + (half < 1 ? "Sequences: on PAIRS one step may already leave less than half of them wrong."
        : `Sequences: on PAIRS any number of steps up to ${short(half)} leaves more than half of them wrong.`);
  }

  const moved = (key) => (value) => { at[key] = value; refresh(); say(sentence()); };
  const left = make("div"), right = make("div");
  const leftKey = make("ul", { class: "mdm-key mdm-list" }), rightKey = make("ul", { class: "mdm-key mdm-list" });
  const first = make("div", {},
    make("p", { class: "mdm-title" }, "Token error rate"), left, leftKey,
    slider("allowed loss ε", data.epsilons, at.epsilon, String, moved("epsilon")),
    slider("order n of the n-gram", data.orders, at.n, String, moved("n")));
  const second = make("div", {},
    make("p", { class: "mdm-title" }, `Sequence error rate, V = ${vocab}`), right, rightKey,
    slider("steps N", data.steps, at.steps, count, moved("steps")),
    slider("learning error, nats", data.learning, at.learning, short, moved("learning")));

  live.append(
    make("p", {}, "Move the length: the steps for a token error rate stay where they are, those for a sequence error rate move with L."),
    slider("length L", data.lengths, at.length, count, moved("length")),
    make("div", { class: "mdm-two" }, first, second),
    region);
  follow(first, (now) => { width = now; refresh(); });
  say(sentence());
});
