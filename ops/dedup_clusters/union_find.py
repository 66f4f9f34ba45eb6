"""Disjoint sets over 0..n-1 whose representative is always their smallest member."""

import numpy as np
import numpy.typing as npt


class UnionFind:
    """Union-find with path halving. The sets do not depend on the order of `union` calls."""

    def __init__(self, size: int) -> None:
        self.parent = np.arange(size, dtype=np.int64)

    def find(self, item: int) -> int:
        """The smallest member of the set of `item`."""
        parent = self.parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = int(parent[item])
        return item

    def union(self, a: int, b: int) -> None:
        """Join the sets of `a` and `b`."""
        root_a, root_b = self.find(a), self.find(b)
        if root_a < root_b:
            self.parent[root_b] = root_a
        else:
            self.parent[root_a] = root_b

    def roots(self) -> npt.NDArray[np.int64]:
        """`find` of every item, and every path made as short as it gets."""
        while True:
            shorter = self.parent[self.parent]
            if np.array_equal(shorter, self.parent):
                return shorter
            self.parent = shorter
