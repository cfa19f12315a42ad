"""The two ends of a chain as two more symbols: what the exact recursions multiply."""

import numpy as np

from mdm_lab.information.chain import powers, require_chain


def neighbour_masses(lang, length):
    """What stands between a left symbol a and a right symbol b at distance d + 1, d = 0..length.

    ahead   (length+1, V+1, V)    [d, a, c]: the chance of c, d + 1 places after a
    behind  (length+1, V, V+1)    [d, c, b]: the chance of b, d + 1 places after c
    mass    (length+1, V+1, V+1)  [d, a, b]: the chance of b, d + 1 places after a

    Symbol V is the start on the left, whose row is the initial law, and the end on the right, which
    any token may precede and which gives no evidence. So the bridge over m of l masked positions is
    q_m(c | a, b) = ahead[m-1, a, c] behind[l-m, c, b] / mass[l, a, b].
    """
    initial, transition = require_chain(lang, "this recursion", "use push_forward")
    v, p = len(initial), powers(transition, length + 2)
    ahead = np.concatenate([p[1:], (initial @ p[:-1])[:, None]], axis=1)
    behind = np.concatenate([p[1:], np.ones((length + 1, v, 1))], axis=2)
    mass = np.concatenate([ahead, np.ones((length + 1, v + 1, 1))], axis=2)
    return ahead, behind, mass
