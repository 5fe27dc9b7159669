"""Quantiles of the Beta distribution, in plain Python floats."""

from __future__ import annotations

import math
from functools import lru_cache

TOLERANCE = 1e-12
MAX_TERMS = 500


def beta_cdf(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1]."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        # The continued fraction converges fast only below the mean.
        return 1.0 - beta_cdf(b, a, 1.0 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _continued_fraction(a, b, x))


def _continued_fraction(a: float, b: float, x: float) -> float:
    """1 + d_1/(1 + d_2/(1 + …)), evaluated forwards by Steed's recurrence on ratios (DLMF 8.17.22)."""
    ratio_c, ratio_d, value = 1.0, 0.0, 1.0
    for term in range(1, MAX_TERMS):
        m, is_odd = divmod(term, 2)
        if is_odd:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        ratio_d = 1.0 / (1.0 + d * ratio_d)
        ratio_c = 1.0 + d / ratio_c
        step = ratio_c * ratio_d
        value *= step
        if abs(step - 1.0) < TOLERANCE:
            break
    return value


@lru_cache(maxsize=4096)
def beta_quantile(a: float, b: float, probability: float) -> float:
    """The x with I_x(a, b) = probability, to 1e-12, by bisection."""
    low, high = 0.0, 1.0
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        if beta_cdf(a, b, middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2
