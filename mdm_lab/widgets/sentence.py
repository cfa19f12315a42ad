"""The explorable figure `unmask_sentence`: five words to reveal, one by one or all at once."""

from itertools import product

import numpy as np

from mdm_lab.plotting import COLOURS, MASKED
from mdm_lab.widgets.drawing import Drawing
from mdm_lab.widgets.explorable import Explorable

# What stands between the five open places, and what may stand in them.
TEXT = ("", "bought", "dozen eggs for", "each, so", "spent", "total.")
PEOPLE = (("Sam", "he"), ("Ana", "she"))
QUANTITIES = {"one": 1, "two": 2, "three": 3}
PRICES = (2, 3, 5)


def sentences():
    """The true sentences, each as its five words; all are equally likely."""
    return [
        (name, quantity, f"${price}", pronoun, f"${QUANTITIES[quantity] * price}")
        for (name, pronoun), quantity, price in product(PEOPLE, QUANTITIES, PRICES)
    ]


def unmask_sentence():
    """Reveal a sentence word by word, or all at once, with the exact law of what is still masked.

    Word by word it always comes out true, since each word is drawn from its exact law given those
    that are there; in one step the words do not see one another. The figure counts what happens,
    and gives the exact error rate of either way.
    """
    true = sentences()
    words = [list(dict.fromkeys(place)) for place in zip(*true)]
    tokens = [[place.index(word) for place, word in zip(words, row)] for row in true]
    data = {
        "seed": 4,
        "text": TEXT,
        "words": words,
        "sentences": tokens,
        "together": [[0, 3], [1, 2, 4]],  # places whose words depend on one another
        "exact": {"one": 0.0, "all": error_rate_at_once(np.array(tokens))},
    }
    still, alt = _still(data["exact"])
    return Explorable("unmask-sentence", "Unmask a sentence", data, still, alt)


def error_rate_at_once(tokens):
    """Exact SER of one step when each of the sequences `tokens` (num, length) is equally likely.

    One step draws the product of the marginals (thm-one-step), whose mass on `tokens` counts.
    """
    shares = [np.bincount(place) / len(place) for place in tokens.T]
    right = np.prod([share[place] for share, place in zip(shares, tokens.T)], axis=0)
    return 1 - float(right.sum())


def _still(rates):
    """(SVG, description): the masked sentence, one that was written word by word, one at once."""
    rows = (
        ("masked", ("mask",) * 5, ()),
        ("one word at a time", ("Ana", "two", "$3", "she", "$6"), ()),
        ("all words at once", ("Sam", "two", "$5", "she", "$3"), (0, 1, 2, 3, 4)),
    )
    sheet = Drawing(560, 176)
    for k, (title, words, wrong) in enumerate(rows):
        x, y = 4, 20 + 46 * k
        sheet.text(x, y - 5, title, font_weight=600)
        for i, text in enumerate(TEXT):
            sheet.text(x, y + 19, text, font_size=13)
            x += round(6.6 * len(text)) + (6 if text else 0)
            if i == len(words):
                break
            wide = 12 + 8 * len(words[i])
            look = {"fill": MASKED if words[i] == "mask" else "#cfe6f5", "stroke": COLOURS[0]}
            look |= {"fill": "white", "stroke": COLOURS[1], "stroke_width": 3} if i in wrong else {}
            sheet.add("rect", x=x, y=y + 3, width=wide, height=22, rx=4, **look)
            sheet.text(x + wide // 2, y + 19, words[i], text_anchor="middle", font_size=13)
            x += wide + 6
    one, every = (f"{100 * rates[way]:.3g}%" for way in ("one", "all"))
    told = f"Exact share of impossible sentences: {one} one at a time, {every} all at once."
    sheet.text(4, 168, told)
    alt = (
        "A sentence with five masked words, about somebody who buys eggs. Written one word at a "
        "time it reads: Ana bought two dozen eggs for $3 each, so she spent $6 total. Written all "
        "at once: Sam bought two dozen eggs for $5 each, so she spent $3 total; no word fits. "
        + told
    )
    return sheet.svg(), alt
