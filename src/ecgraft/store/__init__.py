"""A corpus on disk: records at native rate, length and leads; random windows; splits by patient. Numpy only."""

from __future__ import annotations

from .edit import merge, remove_patient
from .prepared import PreparedCache
from .read import Store
from .write import StoreWriter

__all__ = ["PreparedCache", "Store", "StoreWriter", "merge", "remove_patient"]
