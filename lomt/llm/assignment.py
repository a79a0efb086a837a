"""Points into clusters of one size: the balanced assignment of greatest total similarity, by auction."""

import numpy as np
from numpy.typing import NDArray


def assign_balanced(
    similarity: NDArray[np.floating], tolerance: float, prices: NDArray[np.float64] | None = None
) -> NDArray[np.intp]:
    """Put ``n`` points into ``k`` clusters of ``n / k`` each with all but the greatest sum of similarities.

    Points without a place bid for the cluster where they gain most, as much as leaves them no worse off than with their
    second choice; a cluster keeps its highest bidders, and costs what the lowest of these bid (Bertsekas and
    Castañón, "The auction algorithm for the transportation problem", 1989). The sum is at most ``n * tolerance`` below
    the optimum.

    Args:
        similarity: ``[n, k]``, each point's to each cluster.
        tolerance: above 0; each bid exceeds the bidder's gain by it. A smaller one takes longer.
        prices: ``[k]``, where the auction begins, changed in place to where it ended; that of a similar problem makes
            it shorter.

    Returns:
        Each point's cluster, ``[n]``.
    """
    n, k = similarity.shape
    size = n // k
    if k == 1:
        return np.zeros(n, dtype=np.intp)
    if prices is None:
        prices = np.zeros(k)
    cluster = np.full(n, -1, dtype=np.intp)
    bid = np.zeros(n)
    free = np.arange(n)
    while len(free):
        gain = similarity[free] - prices  # in float64, where no bid is lost in the price's rounding
        at = np.arange(len(free))
        wanted = gain.argmax(axis=1)
        best = gain[at, wanted]
        gain[at, wanted] = -np.inf
        cluster[free] = wanted
        bid[free] = prices[wanted] + best - gain.max(axis=1) + tolerance
        losers = []
        for c in np.unique(wanted):
            bidders = np.flatnonzero(cluster == c)
            if len(bidders) < size:
                continue
            if len(bidders) > size:
                ranked = bidders[np.argsort(-bid[bidders], kind="stable")]
                bidders = ranked[:size]
                losers.append(ranked[size:])
            prices[c] = bid[bidders].min()
        free = np.concatenate(losers) if losers else free[:0]
        cluster[free] = -1
    return cluster
