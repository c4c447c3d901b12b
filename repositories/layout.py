"""Where the nodes of a picture stand: those that are connected near each other, none on another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Rounds of moving, and so many pairs of nodes in all of them together: a second or two.
ROUNDS, PAIRS = 300, 30_000_000
#: With more nodes than that they stay on their circles: no eye follows what forces would do.
MOST_MOVED = 2_000
#: Nodes whose distances from all others are in memory at a time.
BLOCK = 256
#: The distance that two connected nodes settle at, in the unit of the result.
SPACING = 110.0


def positions(depths: Sequence[int], edges: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Return a position for each node; the same for the same graph.

    By forces (Fruchterman and Reingold, "Graph Drawing by Force-directed Placement", 1991): nodes
    repel each other and edges pull, less far from round to round. They begin on circles, one for
    each depth, and very many stay there.
    """
    count = len(depths)
    places = _circles(depths, _radii(depths, crowded=count > MOST_MOVED))
    if not 2 <= count <= MOST_MOVED:
        return places
    ends = np.array(sorted({(min(e), max(e)) for e in edges if e[0] != e[1]}), dtype=int)
    rounds = max(20, min(ROUNDS, PAIRS // count**2))
    farthest = SPACING * count**0.5 / 4
    for heat in np.linspace(farthest, SPACING / 50, rounds):
        force = _repulsion(places) + (_attraction(places, ends) if len(ends) else 0.0)
        length = np.linalg.norm(force, axis=1, keepdims=True).clip(1e-9)
        places += force / length * np.minimum(length, heat)
    centred: NDArray[np.float64] = places - places.mean(axis=0)
    return centred


def _radii(depths: Sequence[int], *, crowded: bool) -> NDArray[np.float64]:
    """Return the radius of each circle; where nodes stay on them there is room for all."""
    numbers = np.bincount(np.asarray(depths, dtype=int))
    if not crowded:
        return SPACING * np.arange(len(numbers), dtype=float)
    radii = np.zeros(len(numbers))
    for depth, number in enumerate(numbers):
        inner = radii[depth - 1] + SPACING if depth else 0.0
        radii[depth] = max(inner, (number - 1) * SPACING / 4 / (2 * np.pi))
    return radii


def _circles(depths: Sequence[int], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    total, turn = np.bincount(np.asarray(depths, dtype=int)), np.zeros(len(depths))
    seen = np.zeros(len(total))
    for number, depth in enumerate(depths):
        turn[number] = seen[depth] / total[depth]
        seen[depth] += 1
    # Another angle for each circle, so that none stands behind another one.
    angle = 2 * np.pi * turn + np.asarray(depths) * 0.7
    radius = radii[np.asarray(depths, dtype=int)]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _repulsion(places: NDArray[np.float64]) -> NDArray[np.float64]:
    blocks = (places[start : start + BLOCK] for start in range(0, len(places), BLOCK))
    return np.concatenate([_repelled(block, places) for block in blocks])


def _repelled(block: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    apart = block[:, None, :] - places[None, :, :]
    square = (apart**2).sum(axis=2).clip(1.0)
    force: NDArray[np.float64] = (apart * (SPACING**2 / square)[:, :, None]).sum(axis=1)
    return force


def _attraction(places: NDArray[np.float64], ends: NDArray[np.int_]) -> NDArray[np.float64]:
    force = np.zeros_like(places)
    apart = places[ends[:, 1]] - places[ends[:, 0]]
    pull = apart * (np.linalg.norm(apart, axis=1, keepdims=True) / SPACING)
    np.add.at(force, ends[:, 0], pull)
    np.add.at(force, ends[:, 1], -pull)
    return force
