"""See what a multi-scale CNN sees: labels, maps, the scale of a decision, comparisons.

    >>> import mscnn
    >>> net = mscnn.load("starter_res2net")
    >>> net.predict("dog.jpg").top
    >>> net.explain("dog.jpg", targets="top5").maps
    >>> net.scales("dog.jpg").attribution

Importing the package loads neither torch nor gradio; names are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mscnn.engine.network import Network
    from mscnn.engine.session import load
    from mscnn.errors import MscnnError
    from mscnn.models.registry import BackboneSpec, list_backbones
    from mscnn.results.explanation import CamMap, Comparison, Explanation, Prediction, Score
    from mscnn.results.receptive_field import ReceptiveField
    from mscnn.results.scales import AttentionReport, EffectiveField, ScaleReport, SweepCurve

__version__ = "0.1.0"
__all__ = [
    "AttentionReport",
    "BackboneSpec",
    "CamMap",
    "Comparison",
    "EffectiveField",
    "Explanation",
    "MscnnError",
    "Network",
    "Prediction",
    "ReceptiveField",
    "ScaleReport",
    "Score",
    "SweepCurve",
    "list_backbones",
    "load",
]

_HOMES = {
    "AttentionReport": "results.scales",
    "BackboneSpec": "models.registry",
    "CamMap": "results.explanation",
    "Comparison": "results.explanation",
    "EffectiveField": "results.scales",
    "Explanation": "results.explanation",
    "MscnnError": "errors",
    "Network": "engine.network",
    "Prediction": "results.explanation",
    "ReceptiveField": "results.receptive_field",
    "ScaleReport": "results.scales",
    "Score": "results.explanation",
    "SweepCurve": "results.scales",
    "list_backbones": "models.registry",
    "load": "engine.session",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
