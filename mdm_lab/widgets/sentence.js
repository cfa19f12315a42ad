// A sentence whose words are revealed one by one, or all at once from the same glance.

// The exact law of the word at place i, given the words that are visible (null: masked).
function wordLaw(data, x, i) {
  const law = data.words[i].map(() => 0);
  const fits = data.sentences.filter((row) => row.every((c, j) => x[j] === null || x[j] === c));
  for (const row of fits) law[row[i]] += 1 / fits.length;
  return law;
}

// The places whose words cannot all stand together.
function misfits(data, x) {
  return data.together.filter((places) =>
    !data.sentences.some((row) => places.every((j) => x[j] === null || x[j] === row[j]))).flat();
}

const SENTENCE_STYLE = `
figure.mdm-explorable .mdm-sentence { margin: 8px 0 14px; font-size: 18px; line-height: 2.5; }
figure.mdm-explorable button.mdm-word { min-width: 60px; padding: 2px 8px; border-color: #4d4d4d; font-size: 17px; line-height: 1.4; }
figure.mdm-explorable button.mdm-word[aria-disabled] { background: #fff; color: #1a1a1a; }
figure.mdm-explorable button.mdm-word[aria-disabled="false"] { background: ${MASKED}; font-style: italic; }
figure.mdm-explorable button.mdm-word.mdm-fresh { background: #cfe6f5; font-weight: 700; }
figure.mdm-explorable button.mdm-word.mdm-wrong { border: 3px solid #b34700; font-weight: 700; text-decoration: underline wavy #b34700; }
`;

mount("unmask-sentence", (live, data) => {
  const random = seeded(data.seed), all = data.words.map((_, i) => i);
  const ways = { one: "One word at a time", all: "All at once" };
  const tally = { one: [0, 0], all: [0, 0] };
  const { region, say } = speaker();
  let x, fresh, looks;  // words, the places revealed last, how often the model was asked

  const masked = () => all.filter((i) => x[i] === null);
  const text = () => all.map((i) => `${data.text[i]} ${x[i] === null ? "mask" : data.words[i][x[i]]}`)
    .join(" ").trim() + ` ${data.text[all.length]}`;

  function begin() {
    x = all.map(() => null);
    fresh = [];
    looks = 0;
    show();
  }

  function draw(law) {
    let left = random();
    return Math.max(0, law.findIndex((p) => p > 0 && (left -= p) < 0));
  }

  function reveal(places) {
    const laws = places.map((i) => wordLaw(data, x, i));  // all see the sentence as it is now
    places.forEach((i, k) => { x[i] = draw(laws[k]); });
    fresh = places;
    looks++;
    const left = masked().length, wrong = misfits(data, x).map((i) => data.words[i][x[i]]);
    const way = looks === all.length ? "one" : looks === 1 ? "all" : null;
    if (!left && way) {
      tally[way][0]++;
      if (wrong.length) tally[way][1]++;
    }
    show();
    say(left ? `${places.map((i) => data.words[i][x[i]]).join(", ")}. ${left} masked.`
      : wrong.length ? `Impossible: ${wrong.join(", ")} do not fit together. The model knew the law; the words did not see one another.`
      : `Possible: ${text()}`);
  }

  function next() {
    if (!masked().length) begin();
    const open = masked();
    reveal([open[Math.floor(random() * open.length)]]);
  }

  function rest() {
    if (!masked().length) begin();
    reveal(masked());
  }

  function show() {
    const wrong = new Set(misfits(data, x));
    all.forEach((i) => {
      const open = x[i] === null;
      words_[i].textContent = open ? "mask" : data.words[i][x[i]];
      words_[i].setAttribute("aria-label", `${words_[i].textContent}, word ${i + 1}`);
      words_[i].setAttribute("aria-disabled", String(!open));
      words_[i].className = `mdm-word${open ? "" : wrong.has(i) ? " mdm-wrong" : fresh.includes(i) ? " mdm-fresh" : ""}`;
    });
    again.enable(masked().length < all.length);
    numbers.replaceChildren(...Object.entries(ways).flatMap(([way, name]) => {
      const [finished, bad] = tally[way];
      return [make("dt", {}, name), make("dd", {}, `${bad} of ${finished} impossible (exactly: ${percent(data.exact[way])})`)];
    }));
  }

  const words_ = all.map((i) => make("button", {
    type: "button", class: "mdm-word", click: () => x[i] === null && reveal([i]),
  }));
  const one = button("Reveal one word", next, "mdm-main");
  const every = button("Reveal all at once", rest);
  const again = button("New sentence", () => { begin(); say("Five words are masked."); });
  const numbers = make("dl", { class: "mdm-numbers" });
  live.append(
    make("style", {}, SENTENCE_STYLE),
    make("p", { class: "mdm-sentence" }, all.flatMap((i) => [` ${data.text[i]} `, words_[i]]), ` ${data.text[all.length]}`),
    make("div", { class: "mdm-row" }, [one, every, again].map(({ element }) => element)),
    region, numbers);
  begin();
  say("Five words are masked. Press one, or a button.");
});

mdmLab.sentence = { wordLaw, misfits };
