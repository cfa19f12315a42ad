// Two small languages, their exact denoisers, and the sampler: what `unmask` draws from.

// Exact posteriors of a first-order chain: between its nearest visible neighbours a token has the
// law P^m[left, c] P^k[c, right]; where those two cannot both be, the left one alone decides.
function chainLanguage({ vocab, initial, transition }) {
  const unit = (row) => row.map((p) => p / row.reduce((sum, q) => sum + q, 0));
  const step = transition.map(unit), start = [unit(initial)];
  const powers = [step.map((_, a) => step.map((_, b) => Number(a === b)))];
  const push = (row) => step.map((_, c) => row.reduce((sum, p, b) => sum + p * step[b][c], 0));
  const power = (d) => {
    while (powers.length <= d) powers.push(powers[powers.length - 1].map(push));
    return powers[d];
  };
  const law = (i) => {
    while (start.length <= i) start.push(push(start[start.length - 1]));
    return start[i];
  };
  function posteriorAt(x, i) {
    let left = i - 1, right = i + 1;
    while (left >= 0 && x[left] === vocab) left--;
    while (right < x.length && x[right] === vocab) right++;
    const ahead = left < 0 ? law(i) : power(i - left)[x[left]];
    if (right === x.length) return ahead;
    const both = ahead.map((p, c) => p * power(right - i)[c][x[right]]);
    return both.some((p) => p > 0) ? unit(both) : ahead;
  }
  function conflicts(x) {
    const seen = [...x.keys()].filter((i) => x[i] < vocab);
    return seen.slice(1).map((j, k) => [seen[k], j])
      .filter(([i, j]) => power(j - i)[x[i]][x[j]] === 0);
  }
  return { vocab, posteriorAt, conflicts };
}

// The tokens 2j and 2j+1 agree, and are otherwise uniform.
function pairsLanguage({ vocab }) {
  const every = Array.from({ length: vocab }, (_, c) => c);
  const posteriorAt = (x, i) => {
    const partner = x[i ^ 1];
    return every.map((c) => (partner < vocab ? Number(c === partner) : 1 / vocab));
  };
  const conflicts = (x) => [...x.keys()].filter((i) => i % 2 === 0).map((i) => [i, i + 1])
    .filter(([i, j]) => x[i] < vocab && x[j] < vocab && x[i] !== x[j]);
  return { vocab, posteriorAt, conflicts };
}

const languageOf = (data) => (data.kind === "pairs" ? pairsLanguage : chainLanguage)(data);

// The step of each token, and how many steps there are.
function drawOrder(data, order, length, steps, random) {
  if (order === "random")
    return [Array.from({ length }, () => Math.floor(steps * random())), steps];
  if (order === "single") {
    const places = [...Array(length).keys()];
    for (let i = length - 1; i > 0; i--) {
      const j = Math.floor((i + 1) * random());
      [places[i], places[j]] = [places[j], places[i]];
    }
    return [places, length];
  }
  const given = data.orders[order][data.lengths.indexOf(length)];
  return [given, 1 + Math.max(...given)];
}

// The sequence before the first step and after each one.
function generate(language, order, steps, random) {
  const pick = (law) => {
    let rest = random() * law.reduce((sum, p) => sum + p, 0), last = 0;
    for (let c = 0; c < law.length; c++) {
      if (law[c] > 0) last = c;
      rest -= law[c];
      if (rest < 0 && law[c] > 0) return c;
    }
    return last;
  };
  const states = [Array(order.length).fill(language.vocab)];
  for (let k = 0; k < steps; k++) {
    const before = states[k];
    states.push(before.map((c, i) => (order[i] === k ? pick(language.posteriorAt(before, i)) : c)));
  }
  return states;
}

// The exact interval of Clopper and Pearson for a chance after `wrong` of `num` trials.
function clopperPearson(wrong, num, confidence) {
  const tail = Math.log((1 - confidence) / 2), factorials = [0];
  for (let k = 1; k <= num; k++) factorials.push(factorials[k - 1] + Math.log(k));
  function lower(successes) {  // the chance at which that many or more are as rare as the tail
    if (successes === 0) return 0;
    let low = 0, high = 1;
    for (let round = 0; round < 50; round++) {
      const p = (low + high) / 2;
      const terms = [];
      for (let k = successes; k <= num; k++)
        terms.push(factorials[num] - factorials[k] - factorials[num - k]
          + k * Math.log(p) + (num - k) * Math.log1p(-p));
      const top = terms.reduce((a, b) => Math.max(a, b));
      const sum = top + Math.log(terms.reduce((total, term) => total + Math.exp(term - top), 0));
      if (sum < tail) low = p; else high = p;
    }
    return (low + high) / 2;
  }
  return [lower(wrong), 1 - lower(num - wrong)];
}

mdmLab.unmask = { languageOf, drawOrder, generate, clopperPearson };
