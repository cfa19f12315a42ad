r"""What revealing several tokens in one step costs: the left-Riemann error of the curve f.

Before step k each token is visible with chance u_k, and a token falls into step k with chance w_k.
With the exact denoiser, and sigma the random assignment of tokens to steps,

    E_sigma KL(q || p_sigma) = \sum_k w_k f(u_k) - \int_0^1 f(u) du,

which is the teacher-forced excess of the sampler (chapter *Factorisation error*). It bounds
the divergence of the sampler's own law p = E_sigma p_sigma from above; that one is
`mdm_lab.exact.true_excess`.
"""

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev

from mdm_lab.checks import check_positive_int
from mdm_lab.information.curve import end_points, information_curve, total_entropy
from mdm_lab.schedules import reveal_from_widths, revealed_fractions, widths

MAX_DEGREE = 1024  # of the polynomial by which optimal_reveal follows the curve


def factorisation_error(lang, length, reveal):
    """E_sigma KL(q || p_sigma), nats for the whole sequence, exactly; reveal: r_0..r_{N-1}.

    The left sum of the curve less its integral (thm-left-riemann).
    Exact where `information_curve` is; else its ValueError (then `factorisation_error_estimate`).
    """
    curve = information_curve(lang, length, revealed_fractions(reveal))
    return float(widths(reveal) @ curve - total_entropy(lang, length))


def first_order_excess(lang, length):
    """(f(0) - f(1)) / 2 = (1/2) sum_i I(X_i; all others), nats: N times the error, to first order.

    For N uniform steps the factorisation error is this / N + O(1/N^2) (cor-pace). Every n-gram and
    every enumerable world, exactly.
    """
    first, last = end_points(lang, length)
    return (first - last) / 2


def optimal_reveal(curve, steps):
    """The reveal list (steps,) that minimises the factorisation error of a falling curve f.

    curve: a function from an array of u in [0, 1] to f(u), smooth, such as
    ``lambda u: information_curve(lang, length, u)``. The breakpoints u_k solve
    f(u_{k-1}) - f(u_k) + (u_{k+1} - u_k) f'(u_k) = 0 by Newton's method, damped so that the error
    never rises, from uniform steps and from the many-step limit w proportional to |f'|^{-1/2};
    the better end is returned, hence nothing worse than uniform steps.
    """
    steps = check_positive_int(steps, "steps")
    f = _smooth(curve)
    slope = f.deriv()
    if steps == 1 or not (f(0.0) > f(1.0)):
        return reveal_from_widths(np.full(steps, 1 / steps))
    uniform = np.linspace(0, 1, steps + 1)
    limit = _equal_mass(lambda u: np.sqrt(np.maximum(-slope(u), 0)), steps)
    ends = [_newton(f, slope, start) for start in (uniform, limit)]
    best = min(ends, key=lambda u: _left_sum(f, u))
    return reveal_from_widths(np.diff(best))


def reveal_by_density(density, steps):
    """The reveal list (steps,) with widths inversely proportional to a density >= 0 on [0, 1].

    Each step takes the same share of the density's mass: w_k density(u_k) is nearly constant. With
    the square root of g, positive or a polynomial, no list makes N sum_k w_k^2 g(u_k) smaller as N
    grows (prop-schedules): g the `impossible_pair_curve` for SER and KL(q || p), -f'/2 for the
    factorisation error. Where g is 0 on an interval, add a small constant to it first.
    By the trapezoidal rule on 4096 intervals. ValueError for a density that is none.
    """
    return reveal_from_widths(np.diff(_equal_mass(density, check_positive_int(steps, "steps"))))


def _equal_mass(density, steps):
    """Breakpoints u (steps+1,), between neighbours of which the density has equal masses."""
    grid = np.linspace(0, 1, 4097)
    height = np.asarray(density(grid), dtype=np.float64)
    if not np.isfinite(height).all() or (height < 0).any() or not height.any():
        raise ValueError("density must be finite, at least 0 and not 0 everywhere on [0, 1]")
    mass = np.concatenate([[0], np.cumsum(height[1:] + height[:-1])])
    u = np.interp(np.linspace(0, mass[-1], steps + 1), mass, grid)
    u[[0, -1]] = 0, 1
    return u


def _smooth(curve):
    """The curve as a Chebyshev polynomial on [0, 1]; ValueError when it is not smooth enough."""
    degree = 16
    while degree <= MAX_DEGREE:
        f = Chebyshev.interpolate(curve, degree, domain=[0, 1])
        size = np.abs(f.coef)
        if size[-degree // 4 :].max() <= 1e-10 * size.max():
            return f
        degree *= 2
    raise ValueError(f"curve must be smooth; no polynomial of degree {MAX_DEGREE} follows it")


def _left_sum(f, u):
    return np.diff(u) @ f(u[:-1])


def _newton(f, slope, u):
    """Breakpoints u (steps+1,) moved to where the left sum is stationary, and no larger."""
    bend, value, damping = slope.deriv(), _left_sum(f, u), 0.0
    for _ in range(200):
        inner, ahead = u[1:-1], np.diff(u)[1:]
        gradient = f(u[:-2]) - f(inner) + ahead * slope(inner)
        diagonal = ahead * bend(inner) - 2 * slope(inner)
        diagonal += damping * np.abs(diagonal).max()
        new = u.copy()
        new[1:-1] -= _solve_tridiagonal(diagonal, slope(inner[:-1]), gradient)
        if (np.diff(new) >= 0).all() and (lower := _left_sum(f, new)) <= value:
            moved = np.abs(new - u).max()
            u, value, damping = new, lower, damping / 8 if damping > 1e-6 else 0.0
            if moved < 1e-12:
                break
        elif damping > 1e6:
            break
        else:
            damping = max(1e-4, 4 * damping)
    return u


def _solve_tridiagonal(diagonal, beside, right):
    """x of diagonal_k x_k + beside_{k-1} x_{k-1} + beside_k x_{k+1} = right_k; nan if singular."""
    d, r, n = diagonal.copy(), right.copy(), len(diagonal)
    with np.errstate(divide="ignore", invalid="ignore"):
        for k in range(1, n):
            factor = beside[k - 1] / d[k - 1]
            d[k] -= factor * beside[k - 1]
            r[k] -= factor * r[k - 1]
        for k in range(n - 1, -1, -1):
            r[k] = (r[k] - (beside[k] * r[k + 1] if k + 1 < n else 0)) / d[k]
    return r
