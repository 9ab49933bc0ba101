"""What the page's dropdowns offer; plain lists, no gradio."""

from __future__ import annotations

from mscnn.maps.methods import METHODS
from mscnn.models import registry
from mscnn.models.labels import LabelSet

GROUPS = {"starter": "Starter", "multi-scale": "Multi-scale", "baseline": "Baseline"}
LAYERS = (
    ("last stage", "last"),
    ("stage 1", "1"),
    ("stage 2", "2"),
    ("stage 3", "3"),
    ("stage 4", "4"),
)
SLOW = "slow"


def model_choices(extra: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Registry models as (text, name), group by group; ``extra`` are the owner's, first."""
    found = [(f"Yours · {name.removeprefix('./')}", name) for name in extra]
    for group, title in GROUPS.items():
        for spec in registry.list_backbones(group=group):  # type: ignore[arg-type]
            # The name is part of the text, so that typing it finds the model.
            found.append((f"{title} · {spec.title} · {spec.name}", spec.name))
    return found


def method_choices() -> list[tuple[str, str]]:
    """Methods as (title, name); those that cost a forward per channel are marked."""
    return [
        (f"{m.title} ({SLOW})" if m.cost == "per-channel" else m.title, m.name)
        for m in METHODS.values()
    ]


def class_choices(labels: LabelSet) -> list[tuple[str, str]]:
    """Classes as (name, index), in alphabetical order."""
    pairs = [(labels.display(i), str(i)) for i in range(len(labels))]
    return sorted(pairs, key=lambda pair: pair[0].lower())


def method_note(name: str) -> str:
    """What a method does, and where it comes from (Markdown)."""
    method = METHODS[name]
    return f"{method.summary} *{method.paper}.*"
