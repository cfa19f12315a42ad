// A sequence being unmasked, step by step, with the exact denoiser of a small language.

const cross = (x, y) => draw("g", {},
  draw("circle", { cx: x, cy: y, r: 8, fill: "#fff", stroke: "#b34700", "stroke-width": 2 }),
  draw("path", { d: `M${x - 3.5} ${y - 3.5}l7 7m0 -7l-7 7`, stroke: "#b34700", "stroke-width": 2.5 }));

const sample = (...children) =>
  draw("svg", { viewBox: "0 0 22 22", width: 22, height: 22, "aria-hidden": "true" }, ...children);

const keyList = (entries) => make("ul", { class: "mdm-key" },
  entries.map(([picture, text]) => make("li", {}, picture, text)));

function keyToTokens() {
  const box = (attributes) => draw("rect", { x: 3, y: 3, width: 16, height: 16, rx: 3, ...attributes });
  return keyList([
    [sample(box({ fill: MASKED, stroke: "#4d4d4d" })), "masked"],
    [sample(box({ fill: "#cfe6f5", stroke: COLOURS[0], "stroke-width": 2.5 })), "revealed in this step"],
    [sample(box({ fill: "#fff", stroke: "#4d4d4d" })), "revealed before"],
    [sample(box({ fill: "#fff", stroke: COLOURS[1], "stroke-width": 3.5 }), cross(11, 11)), "cannot stand together"],
  ]);
}

function keyToGauge() {
  return keyList([
    [sample(draw("path", { d: "M0 11h22M1 5v12M21 5v12", stroke: COLOURS[0], "stroke-width": 2 }),
      draw("circle", { cx: 11, cy: 11, r: 5, fill: COLOURS[0] })), "share wrong so far, 95% interval"],
    [sample(draw("path", { d: "M11 2l9 9l-9 9l-9 -9z", fill: "#fff", stroke: COLOURS[2], "stroke-width": 3 })), "exact error rate"],
  ]);
}

mount("unmask", (live, data) => {
  const random = seeded(data.seed);
  const chosen = { ...data.start };
  const tally = { finished: 0, wrong: 0 };
  const { region, say } = speaker();
  let language, run, at, counted, timer = null, width = 640;

  const wrongAt = (k) => language.conflicts(run.states[k]);
  const record = (states) => {
    tally.finished++;
    if (language.conflicts(states[states.length - 1]).length) tally.wrong++;
  };
  const newRun = () => {
    const [order, steps] = drawOrder(data, chosen.order, chosen.length, chosen.steps, random);
    return { order, steps, states: generate(language, order, steps, random) };
  };

  function setUp() {
    pause();
    language = languageOf(data.languages[chosen.language]);
    tally.finished = tally.wrong = 0;
    run = newRun();
    at = 0;
    counted = false;
    stepsField.offer(
      chosen.order === "random" ? data.steps.map((n) => [n, String(n)]) : [[run.steps, String(run.steps)]],
      run.steps, chosen.order !== "random");
    show();
    say(`${data.languages[chosen.language].name}, ${chosen.length} masks. Press Step.`);
  }

  function renew() {
    if (!counted) record(run.states);  // a run left half-way counts too, else the share is skewed
    run = newRun();
    at = 0;
    counted = false;
    show();
    say(`A new sample: ${chosen.length} masks.`);
  }

  function move(by) {
    at = Math.min(run.steps, Math.max(0, at + by));
    if (at === run.steps && !counted) {
      record(run.states);
      counted = true;
    }
    if (at === run.steps) pause();
    show();
    say(sentence());
  }

  function sentence() {
    const places = (pairs) => pairs.slice(0, 3)
      .map(([i, j]) => `${i + 1} and ${j + 1} (${run.states[at][i]}, ${run.states[at][j]})`).join(", ")
      + (pairs.length > 3 ? ` and ${pairs.length - 3} more` : "");
    const bad = wrongAt(at), old = at ? wrongAt(at - 1).length : 0;
    const revealed = run.order.filter((k) => k === at - 1).length;
    const head = at === 0 ? "Nothing revealed yet."
      : `Step ${at} of ${run.steps}: ${revealed || "no"} token${revealed === 1 ? "" : "s"} revealed.`;
    const conflict = bad.length === 0 ? ""
      : ` ${bad.length > old ? "Conflict" : "Still in conflict"}: tokens ${places(bad)} cannot stand together.`;
    const end = at < run.steps ? "" : bad.length ? " Finished: wrong." : " Finished: possible.";
    return head + conflict + end;
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    if (play) play.element.textContent = "Play";
  }

  function toggle() {
    if (timer !== null) return pause();
    if (at === run.steps) renew();
    timer = setInterval(() => (live.isConnected ? move(1) : pause()), 900);
    play.element.textContent = "Pause";
  }

  function hundred() {
    for (let k = 0; k < 100; k++) record(newRun().states);
    show();
    say(`${tally.finished.toLocaleString("en")} sequences finished, ${percent(tally.wrong / tally.finished)} wrong.`);
  }

  const exact = () => {
    const table = data.languages[chosen.language].exact[chosen.order];
    const row = table[data.lengths.indexOf(chosen.length)];
    return chosen.order === "random" ? row[data.steps.indexOf(chosen.steps)] : row;
  };

  function show() {
    tokens.replaceChildren(drawTokens());
    back.enable(at > 0);
    step.enable(at < run.steps);
    const { finished, wrong } = tally;
    const [low, high] = finished ? clopperPearson(wrong, finished, 0.95) : [0, 1];
    numbers.replaceChildren(...[
      ["Sequences finished", finished.toLocaleString("en")],
      ["Wrong so far", finished ? `${percent(wrong / finished)} (95%: ${percent(low)} to ${percent(high)})` : "none finished"],
      ["Exact error rate", percent(exact())],
    ].flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    gauge.replaceChildren(drawGauge(finished ? wrong / finished : null, low, high, exact()));
  }

  function drawTokens() {
    const x = run.states[at], { kind } = data.languages[chosen.language];
    const columns = Math.min(chosen.length, width >= 560 ? 16 : 8), space = kind === "pairs" ? 0.24 : 0;
    const size = Math.min(46, width / (columns + space * (columns / 2 - 1) + 0.1));
    const tall = size + 24, left = (i) => size * ((i % columns) + space * Math.floor((i % columns) / 2) + 0.05);
    const topOf = (i) => 10 + tall * Math.floor(i / columns);
    const bad = wrongAt(at), guilty = new Set(bad.flat());
    const cells = x.map((c, i) => {
      const masked = c === language.vocab, fresh = run.order[i] === at - 1, wrong = guilty.has(i);
      const edge = wrong ? { stroke: COLOURS[1], "stroke-width": 4 }
        : fresh ? { stroke: COLOURS[0], "stroke-width": 2.5 } : { stroke: "#4d4d4d", "stroke-width": 1 };
      const inner = { x: left(i) + 2.5, y: topOf(i) + 2.5, width: size - 5, height: size - 5, rx: 4 };
      const middle = { "text-anchor": "middle", "dominant-baseline": "central" };
      return [
        draw("rect", { ...inner, fill: masked ? MASKED : fresh ? "#cfe6f5" : "#fff", ...edge }),
        words(left(i) + size / 2, topOf(i) + size / 2, masked ? "m" : String(c), {
          ...middle, "font-size": Math.min(20, size * 0.46), "font-style": masked && "italic",
          "font-weight": fresh || wrong ? 700 : 400,
        }),
        words(left(i) + size / 2, topOf(i) + size + 8, String(run.order[i] + 1), {
          ...middle, "font-size": 11, fill: MUTED,
        }),
      ];
    });
    const crosses = bad.map(([i]) => cross(left(i) + size, topOf(i) + 4));
    const told = x.map((c) => (c === language.vocab ? "m" : c)).join(" ");
    const wide = left(columns - 1) + size * 1.05, high = 14 + tall * Math.ceil(chosen.length / columns);
    return draw("svg", {
      viewBox: `0 0 ${wide} ${high}`, width: Math.min(width, wide), role: "img",
      "aria-label": `After step ${at} of ${run.steps}: ${told}. Conflicts: ${
        bad.map(([i, j]) => `${i + 1} and ${j + 1}`).join(", ") || "none"}.`,
    }, cells, crosses);
  }

  function drawGauge(share, low, high, truth) {
    const px = (p) => 10 + (width - 40) * p, middle = 26;
    const at = draw("path", { d: `M${px(truth)} ${middle - 9}l9 9l-9 9l-9 -9z`, fill: "#fff", stroke: COLOURS[2], "stroke-width": 3 });
    const sampled = share === null ? [] : [
      draw("line", { x1: px(low), x2: px(high), y1: middle, y2: middle, stroke: COLOURS[0], "stroke-width": 4 }),
      [low, high].map((p) => draw("line", { x1: px(p), x2: px(p), y1: middle - 7, y2: middle + 7, stroke: COLOURS[0], "stroke-width": 2 })),
      draw("circle", { cx: px(share), cy: middle, r: 5, fill: COLOURS[0] }),
    ];
    return draw("svg", { viewBox: `0 0 ${width} 62`, width: "100%", role: "img", "aria-label": "Share of wrong sequences and exact error rate on a scale from 0 to 100%." },
      draw("line", { x1: px(0), x2: px(1), y1: middle, y2: middle, stroke: "#8c8c8c" }),
      [0, 0.25, 0.5, 0.75, 1].map((p) => [
        draw("line", { x1: px(p), x2: px(p), y1: middle - 4, y2: middle + 4, stroke: "#8c8c8c" }),
        words(px(p), middle + 26, `${100 * p}%`, { "text-anchor": p ? "middle" : "start", x: p ? px(p) : 0, "font-size": 12 }),
      ]), at, sampled);
  }

  const languageField = choice("Language", data.languages.map(({ name }, k) => [k, name]), chosen.language,
    (value) => { chosen.language = Number(value); rule.textContent = data.languages[value].rule; setUp(); });
  const lengthField = choice("Length L", data.lengths.map((n) => [n, String(n)]), chosen.length,
    (value) => { chosen.length = Number(value); setUp(); });
  const orderField = choice("Order", Object.entries(data.orderNames), chosen.order,
    (value) => { chosen.order = value; setUp(); });
  const stepsField = choice("Steps N", [], chosen.steps,
    (value) => { chosen.steps = Number(value); setUp(); });
  const back = button("Back", () => { pause(); move(-1); });
  const step = button("Step", () => { pause(); move(1); }, "mdm-main");
  const play = button("Play", toggle);
  const fresh = button("New sample", () => { pause(); renew(); });
  const more = button("Run 100 more", hundred);
  const rule = make("p", {}, data.languages[chosen.language].rule);
  const tokens = make("div"), gauge = make("div"), numbers = make("dl", { class: "mdm-numbers" });

  live.append(
    make("p", {}, "Tokens of one step are drawn without seeing one another. The small number is the step in which a token is revealed."),
    make("div", { class: "mdm-fields" },
      [languageField, lengthField, orderField, stepsField].map((field) => field.element)),
    rule, tokens, keyToTokens(),
    make("div", { class: "mdm-row" }, [step, play, back, fresh, more].map(({ element }) => element)),
    region, numbers, gauge, keyToGauge());
  setUp();
  follow(live, (now) => { width = now; show(); });
});
