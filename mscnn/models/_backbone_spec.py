"""One row of the table of backbones, as a type.

Apart from the rows (``_backbones``) and from the lookups (``registry``, which is what other modules
import), so that neither has to import the other's half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["resnet", "resnext", "res2net", "res2next", "resnest"]
Group = Literal["starter", "multi-scale", "baseline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """What is known of one set of weights before it is loaded.

    Attributes:
        name: timm's ``architecture.tag``, or ``starter_*``.
        title: the name a person would use.
        group: where it stands in a list of models.
        params: number of parameters.
        gmacs: 10^9 multiply-accumulates of one forward at ``input_px``.
        input_px: side of the square that the network sees.
        crop_pct: share of the resized photo's shorter side that the square covers, 0..1.
        classes: number of classes of these weights.
        download_bytes: size of the weights on the hub; None where they are bundled.
        top1: timm's measured top-1 accuracy on ImageNet at ``input_px``, 0..1; None where
            nobody published it.
        top1_source: where ``top1`` comes from; for None, where to look.
        paper_top1: the authors' figure, 0..1, or None.
        paper_source: where ``paper_top1`` comes from; "" for None.
        licence: SPDX name of the weights' licence.
        licence_note: what to say where the model is chosen; "" where there is nothing to say.
        recipe: the training recipe in a few words. Equal text means the same recipe.
        baseline: name of the plain network to compare with, or None.
        baseline_reason: why this one, and what still differs; for None, why there is none.
            "" for baselines.
        summary: one sentence for a newcomer.
        scales: into how many splits of different receptive field a block divides its
            channels; 1 for all but Res2Net and Res2NeXt.
        radix: how many branches ResNeSt's split attention weighs; 0 without split attention.
        cardinality: groups of the 3x3 convolutions (of one radix branch in ResNeSt).
    """

    name: str
    title: str
    family: Family
    group: Group
    params: int
    gmacs: float
    input_px: int = 224
    crop_pct: float = 0.875
    interpolation: str = "bilinear"
    classes: int = 1000
    download_bytes: int | None
    top1: float | None
    top1_source: str
    paper_top1: float | None = None
    paper_source: str = ""
    licence: str
    licence_note: str = ""
    recipe: str
    baseline: str | None = None
    baseline_reason: str = ""
    summary: str
    scales: int = 1
    radix: int = 0
    cardinality: int = 1

    @property
    def architecture(self) -> str:
        """The name of timm's architecture, before the dot."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """The name of timm's weights, after the dot; "" for starters."""
        return self.name.partition(".")[2]

    @property
    def hub_id(self) -> str | None:
        """Repository on the Hugging Face hub, None for bundled weights."""
        return f"timm/{self.name}" if self.download_bytes is not None else None
