"""The table of backbones: published and computed facts, one row per set of weights.

Where each number comes from:

* ``params``, ``download_bytes``: counted on the model that timm 1.0.31 builds; bytes are those of
  all tensors in its state (float32 weights and batch statistics, int64 counters). The file on
  the hub adds a header of less than 0.3 %.
* ``gmacs``: multiply-accumulates of all convolutions and linear layers in one forward at
  ``input_px``, from ``torch.utils.flop_counter`` (2 FLOPs each), rounded to 1e-4. timm's own
  benchmark tables count batch norm too and are 0.3 to 1 % higher.
* ``input_px``, ``crop_pct``, ``interpolation``: timm's default configuration, as
  ``timm.data.resolve_model_data_config`` gives it (not the larger test size of some weights).
* ``top1``: timm's measurement at exactly this input.
* ``paper_top1``: what the authors published; 1 - top-1 error where they give errors.
* ``recipe``: the training recipe. Res2Net: its authors name PyTorch's ImageNet example
  (Res2Net-PretrainedModels, issue 38) and CutMix for v1b (issue 71). ResNeSt: timm's page on it.
  RA2: timm's page on hyper-parameters. GluonCV: the training logs in its model zoo.

``tests/models/test_registry.py`` recomputes what can be computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

Family = Literal["resnet", "resnext", "res2net", "res2next", "resnest"]
Group = Literal["starter", "multi-scale", "baseline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec:
    """What is known of one set of weights before it is loaded; accuracies are fractions, 0..1.

    Attributes:
        name: timm's ``architecture.tag``, or ``starter_*``.
        gmacs: 10^9 multiply-accumulates of one forward at ``input_px``.
        input_px: side of the square that the network sees.
        crop_pct: fraction of the resized photo's shorter side that the square covers, 0..1.
        download_bytes: size of the weights on the hub; None where they are bundled.
        top1: on ImageNet at ``input_px``; None where none is published.
        top1_source: where ``top1`` comes from; for None, where to look.
        paper_top1: the authors' figure, or None; ``paper_source`` is "" then.
        licence: SPDX name of the weights' licence; ``licence_note`` belongs where one chooses.
        recipe: the training recipe in a few words. Equal text means the same recipe.
        baseline: name of the plain network to compare with, or None.
        baseline_reason: why this one, and what still differs; for None, why there is none.
        summary: one sentence for a newcomer.
        scales: splits of different receptive field in a block; 1 for all but Res2Net and Res2NeXt.
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


_TIMM = "timm results-imagenet.csv (4e5207c)"
_PAPER = "Res2Net paper, arXiv:1904.01169, Table {}"
_README = "README of Res2Net/Res2Net-PretrainedModels (219c8c6)"
_RESNEST_PAPER = "ResNeSt paper, arXiv:2004.08955, abstract"
_RESNEST_README = "README of zhanghang1989/ResNeSt (1dfb3e8)"
_ABLATION = "ablation.md of zhanghang1989/ResNeSt (1dfb3e8)"

_CLASSIC = "PyTorch's ImageNet example: SGD in steps, crops and flips"
_CUTMIX = "Res2Net v1b: CutMix and its schedule"
_RA2 = "timm RA2: RandAugment, RMSProp, weight averaging"

_SAME_RECIPE = "Same classic recipe and input, nearly the same cost"
_NOT_A1 = (
    _SAME_RECIPE + " (resnet50.a1_in1k would not be fair: its newer recipe alone reaches 80.4 %, "
    "above this Res2Net's {} %)."
)
_RA2_REASON = (
    "Same input, deep stem and a modern recipe, but not the same one (RandAugment there; {} "
    "here): part of any gap is training."
)
_MIXUP = "AutoAugment with mixup"
_NONE = (None, "")


def _row(
    name: str,
    title: str,
    counts: tuple[int, float, int | None, float | None],
    paper: tuple[float | None, str],
    partner: tuple[str | None, str],
    summary: str,
    **facts: Any,
) -> BackboneSpec:
    """Return one row of the table, whose first columns come without their names."""
    facts |= zip(("params", "gmacs", "download_bytes", "top1"), counts, strict=True)
    facts |= zip(("paper_top1", "paper_source"), paper, strict=True)
    facts |= zip(("baseline", "baseline_reason"), partner, strict=True)
    return BackboneSpec(name=name, title=title, summary=summary, **facts)


def _starter(
    kind: str, count: int, gmacs: float, partner: tuple[str | None, str], look: str, **facts: Any
) -> BackboneSpec:
    return _row(
        f"starter_{kind.lower()}",
        f"Starter {kind}",
        (count, gmacs, None, None),
        _NONE,
        partner,
        f"A small bundled {kind} for 72 px photos: {look}",
        family=kind.lower(),
        group="starter",
        input_px=72,
        crop_pct=1.0,
        interpolation="bicubic",
        classes=200,
        top1_source="see assets/weights/MANIFEST.json",
        licence="Apache-2.0",
        licence_note="trained by this project on Tiny-ImageNet-200 (research data derived from "
        "ImageNet)",
        recipe="this project's starter recipe on Tiny-ImageNet-200, 14 epochs",
        **facts,
    )


# Name, title, counts, the authors' figure, partner, summary; then what the family does not say.
# fmt: off
_published = partial(_row, top1_source=_TIMM, licence="Apache-2.0")
_res2net = partial(
    _published, family="res2net", group="multi-scale", recipe=_CLASSIC, scales=4,
    licence="CC-BY-NC-SA-4.0",
    licence_note="non-commercial upstream: CC BY-NC-SA 4.0; timm lists the licence as unknown",
)
_resnest = partial(
    _published, family="resnest", group="multi-scale", radix=2,
    recipe="ResNeSt: AutoAugment, mixup, label smoothing, 270 epochs",
)
_resnet = partial(_published, family="resnet", group="baseline", interpolation="bicubic")
_torchvision = partial(_resnet, licence="BSD-3-Clause", interpolation="bilinear", recipe=_CLASSIC)

BACKBONES: tuple[BackboneSpec, ...] = (
    _starter("Res2Net", 2_636_679, 0.2917, ("starter_resnet",
             "Same recipe, data and epochs, same channels and nearly the same cost."),
             "4 chained splits inside each block, so one block looks at several sizes at once.",
             scales=4),
    _starter("ResNet", 2_645_712, 0.2904, (None, "It is itself the plain partner of the others."),
             "one 3x3 convolution per block."),
    _starter("Res2NeXt", 2_542_096, 0.2805, ("starter_resnet",
             "Same recipe, data and epochs, same channels and nearly the same cost."),
             "4 chained splits inside each block, each of 8 groups of channels.",
             scales=4, cardinality=8),
    _starter("ResNeSt", 2_850_744, 0.3309, ("starter_resnet",
             "Same recipe, data and epochs, same channels, but a seventh more "
             "multiply-accumulates."),
             "each block weighs two branches by what the whole photo shows.", radix=2),
    _res2net("res2net50_26w_4s.in1k", "Res2Net-50 (26w x 4s)",
             (25_699_120, 4.2552, 103_035_128, 0.77994), (0.7799, _PAPER.format(1)),
             ("resnet50.tv_in1k", _NOT_A1.format("78.0")),
             "The paper's main model: 4 splits of 26 channels inside each block, chained."),
    _res2net("res2net50_48w_2s.in1k", "Res2Net-50 (48w x 2s)",
             (25_287_304, 4.1598, 101_369_672, 0.77528), (0.7732, _PAPER.format(3)),
             ("resnet50.tv_in1k", _NOT_A1.format("77.5")),
             "2 splits of 48 channels inside each block; only one is convolved, so its largest "
             "receptive field equals ResNet-50's.", scales=2),
    _res2net("res2net50_14w_8s.in1k", "Res2Net-50 (14w x 8s)",
             (25_059_816, 4.1789, 100_491_640, 0.78142), (0.7814, _PAPER.format(3)),
             ("resnet50.tv_in1k", _NOT_A1.format("78.1")),
             "8 narrow splits of 14 channels: the most scales at ResNet-50's cost.", scales=8),
    _res2net("res2net50_26w_6s.in1k", "Res2Net-50 (26w x 6s)",
             (37_051_448, 6.2955, 148_493_784, 0.78586), (0.7858, _PAPER.format(3)),
             ("resnet101.tv_in1k", "Same classic recipe and input; ResNet-101 is the plain net "
              "nearest in cost (24 % more multiply-accumulates; ResNet-50 has 35 % fewer)."),
             "6 splits of 26 channels inside each block; half as much work again as ResNet-50.",
             scales=6),
    _res2net("res2net50_26w_8s.in1k", "Res2Net-50 (26w x 8s)",
             (48_403_776, 8.3359, 193_952_440, 0.78950), (0.7920, _PAPER.format(3)),
             ("resnet101.tv_in1k",
              "Same classic recipe and input; ResNet-101 has nearly its cost, ResNet-50 half."),
             "8 splits of 26 channels inside each block; twice the work of ResNet-50.", scales=8),
    _res2net("res2net50d.in1k", "Res2Net-50d (v1b)",
             (25_718_352, 4.4948, 103_112_584, 0.80280), (0.8027, _README),
             ("resnet50d.ra2_in1k", _RA2_REASON.format("CutMix")),
             "4 chained splits of 26 channels, with a deeper stem and a newer recipe.",
             recipe=_CUTMIX),
    _res2net("res2net101_26w_4s.in1k", "Res2Net-101 (26w x 4s)",
             (45_206_688, 8.0670, 181_304_352, 0.79192), (0.7919, _PAPER.format(2)),
             ("resnet101.tv_in1k", _SAME_RECIPE + "."),
             "4 chained splits of 26 channels inside each block, in a net of 101 layers."),
    _res2net("res2net101d.in1k", "Res2Net-101d (v1b)",
             (45_225_920, 8.3066, 181_381_808, 0.81236), (0.8123, _README),
             ("resnet101d.gluon_in1k", "Same input, deep stem and nearly the same cost, but "
              "another recipe (GluonCV's there, CutMix here; resnet101d.ra2_in1k would see 256 "
              "px): part of any gap is training."),
             "4 chained splits, 101 layers, a deeper stem and a newer recipe.", recipe=_CUTMIX),
    _res2net("res2next50.in1k", "Res2NeXt-50 (4w x 4s, 8 groups)",
             (24_671_464, 4.1727, 98_944_328, 0.78238), (0.7824, _PAPER.format(1)),
             ("resnext50_32x4d.tv_in1k", _SAME_RECIPE + "."),
             "4 chained splits inside each block, each convolved in 8 groups as in ResNeXt.",
             family="res2next", cardinality=8),
    _resnest("resnest14d.gluon_in1k", "ResNeSt-14",
             (10_611_688, 2.7494, 42_536_280, 0.75516), _NONE,
             (None, "No plain 14-layer ResNet with published weights has its input and cost; "
              "ResNet-18 has a third less work, other blocks and another recipe."),
             "The smallest ResNeSt: 2 branches per block, weighed channel by channel."),
    _resnest("resnest26d.gluon_in1k", "ResNeSt-26",
             (17_069_448, 3.6234, 68_425_048, 0.78476), _NONE,
             (None, "The nearest plain net, resnet26d.bt_in1k, has 29 % fewer multiply-accumulates "
              "and an older recipe, so its gap would say little."),
             "A small ResNeSt: 2 branches per block, weighed channel by channel."),
    _resnest("resnest50d.in1k", "ResNeSt-50",
             (27_483_240, 5.3712, 110_191_832, 0.80958), (0.8113, _RESNEST_PAPER),
             ("resnet50d.ra2_in1k",
              _RA2_REASON.format(_MIXUP + ", and 24 % more multiply-accumulates,")),
             "Split attention: 2 branches per block, weighed channel by channel for each photo."),
    _resnest("resnest50d_1s4x24d.in1k", "ResNeSt-50 fast (1s4x24d)",
             (25_677_000, 4.3998, 102_963_288, 0.81024), (0.8099, _ABLATION),
             ("resnet50d.ra2_in1k", _RA2_REASON.format(_MIXUP)),
             "Radix 1: one branch in 4 groups, so the gate has nothing to choose between.",
             interpolation="bicubic", radix=1, cardinality=4),
    _resnest("resnest50d_4s2x40d.in1k", "ResNeSt-50 fast (4s2x40d)",
             (30_417_592, 4.3691, 122_050_072, 0.81146), (0.8114, _ABLATION),
             ("resnet50d.ra2_in1k", _RA2_REASON.format(_MIXUP)),
             "Radix 4: four branches per block in 2 groups, weighed channel by channel.",
             interpolation="bicubic", radix=4, cardinality=2),
    _resnest("resnest101e.in1k", "ResNeSt-101",
             (48_275_016, 13.3215, 193_621_624, 0.82916), (0.8283, _RESNEST_README),
             ("resnet101d.ra2_in1k",
              _RA2_REASON.format(_MIXUP + ", and 27 % more multiply-accumulates,")),
             "A large ResNeSt for 256 px photos: 2 branches per block.", input_px=256),
    _resnest("resnest200e.in1k", "ResNeSt-200",
             (70_201_544, 35.5197, 281_682_072, 0.83880), (0.8384, _RESNEST_README),
             (None, "resnet200d.ra2_in1k sees 256 px by default and this one 320 px; a larger "
              "picture alone raises accuracy."),
             "A very large ResNeSt for 320 px photos: slow without a GPU.",
             input_px=320, crop_pct=0.909, interpolation="bicubic"),
    _resnest("resnest269e.in1k", "ResNeSt-269",
             (110_929_480, 77.3487, 444_978_552, 0.84542), (0.8454, _RESNEST_README),
             (None, "timm has no plain ResNet of this depth and input with weights."),
             "The largest ResNeSt, for 416 px photos: very slow without a GPU.",
             input_px=416, crop_pct=0.928, interpolation="bicubic"),
    _torchvision("resnet50.tv_in1k", "ResNet-50",
                 (25_557_032, 4.0892, 102_441_032, 0.76156), (0.7615, _PAPER.format(1)), _NONE,
                 "The plain partner of Res2Net-50: one 3x3 convolution per block."),
    _torchvision("resnext50_32x4d.tv_in1k", "ResNeXt-50 (32x4d)",
                 (25_028_904, 4.2305, 100_388_936, 0.77632), (0.7739, _PAPER.format(1)), _NONE,
                 "The plain partner of Res2NeXt-50: one 3x3 convolution in 32 groups per block.",
                 family="resnext", cardinality=32),
    _torchvision("resnet101.tv_in1k", "ResNet-101",
                 (44_549_160, 7.8014, 178_618_848, 0.77404), (0.7737, _PAPER.format(2)), _NONE,
                 "The plain partner of the larger Res2Nets: 101 layers."),
    _resnet("resnet50d.ra2_in1k", "ResNet-50d (RA2)",
            (25_576_264, 4.3288, 102_518_488, 0.80546), _NONE, _NONE,
            "ResNet-50 with a deeper stem and a modern recipe.", recipe=_RA2),
    _resnet("resnet101d.ra2_in1k", "ResNet-101d (RA2)",
            (44_568_392, 10.5020, 178_696_304, 0.82254), _NONE, _NONE,
            "ResNet-101 with a deeper stem and a modern recipe, for 256 px photos.",
            input_px=256, crop_pct=0.95, recipe=_RA2),
    _resnet("resnet101d.gluon_in1k", "ResNet-101d (GluonCV)",
            (44_568_392, 8.0410, 178_696_304, 0.80466), _NONE, _NONE,
            "ResNet-101 with a deeper stem, for 224 px photos.",
            recipe="GluonCV: SGD with cosine decay, label smoothing"),
    _torchvision("resnet18.tv_in1k", "ResNet-18",
                 (11_689_512, 1.8141, 46_796_608, 0.69752), _NONE, _NONE,
                 "Small and quick: two 3x3 convolutions per block, 18 layers."),
)
# fmt: on
