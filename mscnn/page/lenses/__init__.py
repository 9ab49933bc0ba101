"""The lenses: what the page can say about one photo; ``docs/lenses.md`` says how to add one."""

from __future__ import annotations

from mscnn.page.lens import Lens
from mscnn.page.lenses import compare, features, look, rf, scales, trust, zoom

LENSES: dict[str, Lens] = {
    module.LENS.id: module.LENS for module in (look, scales, rf, zoom, trust, features, compare)
}
"""By id, in the order of the tabs."""
