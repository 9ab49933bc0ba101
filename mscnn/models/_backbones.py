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

``tests/test_registry.py`` recomputes what can be computed.
"""

from __future__ import annotations

from functools import partial

from mscnn.models._backbone_spec import BackboneSpec

_TIMM = "timm results-imagenet.csv (4e5207c)"
_RES2NET_PAPER = "Res2Net paper, arXiv:1904.01169, Table {}"
_RES2NET_REPO = "README of Res2Net/Res2Net-PretrainedModels (219c8c6)"
_RESNEST_PAPER = "ResNeSt paper, arXiv:2004.08955, abstract"
_RESNEST_REPO = "README of zhanghang1989/ResNeSt (1dfb3e8)"
_RESNEST_ABLATION = "ablation.md of zhanghang1989/ResNeSt (1dfb3e8)"

_CLASSIC = "PyTorch's ImageNet example: SGD in steps, crops and flips"
_RES2NET_CUTMIX = "Res2Net v1b: CutMix and its schedule"
_RESNEST = "ResNeSt: AutoAugment, mixup, label smoothing, 270 epochs"
_RA2 = "timm RA2: RandAugment, RMSProp, weight averaging"
_GLUON = "GluonCV: SGD with cosine decay, label smoothing"

_SAME_RECIPE = "Same classic recipe and input, nearly the same cost"
_NOT_A1 = (
    _SAME_RECIPE + " (resnet50.a1_in1k would not be fair: its newer recipe alone reaches 80.4 %, "
    "above this Res2Net's {} %)."
)
_RA2_REASON = (
    "Same input, deep stem and a modern recipe, but not the same one (RandAugment there; {} "
    "here): part of any gap is training."
)

_starter = partial(
    BackboneSpec,
    group="starter",
    input_px=64,
    crop_pct=1.0,
    interpolation="bicubic",
    classes=200,
    download_bytes=None,
    top1=None,
    top1_source="see assets/weights/MANIFEST.json",
    licence="Apache-2.0",
    licence_note=(
        "trained by this project on Tiny-ImageNet-200 (research data derived from ImageNet)"
    ),
    recipe="this project's starter recipe on Tiny-ImageNet-200",
)
_res2net = partial(
    BackboneSpec,
    family="res2net",
    group="multi-scale",
    top1_source=_TIMM,
    licence="CC-BY-NC-SA-4.0",
    licence_note=("non-commercial upstream: CC BY-NC-SA 4.0; timm lists the licence as unknown"),
    recipe=_CLASSIC,
    scales=4,
)
_resnest = partial(
    BackboneSpec,
    family="resnest",
    group="multi-scale",
    top1_source=_TIMM,
    licence="Apache-2.0",
    recipe=_RESNEST,
    radix=2,
)
_resnet = partial(
    BackboneSpec,
    family="resnet",
    group="baseline",
    top1_source=_TIMM,
    licence="Apache-2.0",
    interpolation="bicubic",
)
_torchvision = partial(_resnet, licence="BSD-3-Clause", interpolation="bilinear", recipe=_CLASSIC)

STARTERS = (
    _starter(
        name="starter_res2net",
        title="Starter Res2Net",
        family="res2net",
        params=1_699_968,
        gmacs=0.1597,
        baseline="starter_resnet",
        baseline_reason="Same recipe, data and epochs, same channels and nearly the same cost.",
        summary=(
            "A small bundled Res2Net for 64 px photos: 4 chained splits inside each block, "
            "so one block looks at several sizes at once."
        ),
        scales=4,
    ),
    _starter(
        name="starter_res2next",
        title="Starter Res2NeXt",
        family="res2next",
        params=1_628_328,
        gmacs=0.1523,
        baseline="starter_resnet",
        baseline_reason="Same recipe, data and epochs, same channels and nearly the same cost.",
        summary=(
            "A small bundled Res2NeXt for 64 px photos: 4 chained splits inside each block, "
            "each of 8 groups of channels."
        ),
        scales=4,
        cardinality=8,
    ),
    _starter(
        name="starter_resnest",
        title="Starter ResNeSt",
        family="resnest",
        params=1_831_240,
        gmacs=0.1904,
        baseline="starter_resnet",
        baseline_reason=(
            "Same recipe, data and epochs, same channels; the ResNeSt computes a fifth more."
        ),
        summary=(
            "A small bundled ResNeSt for 64 px photos: each block weighs two branches by what "
            "the whole photo shows."
        ),
        radix=2,
    ),
    _starter(
        name="starter_resnet",
        title="Starter ResNet",
        family="resnet",
        params=1_709_192,
        gmacs=0.1584,
        baseline_reason="It is itself the plain partner of the other starters.",
        summary="A small bundled ResNet for 64 px photos: one 3x3 convolution per block.",
    ),
)

RES2NETS = (
    _res2net(
        name="res2net50_26w_4s.in1k",
        title="Res2Net-50 (26w x 4s)",
        params=25_699_120,
        gmacs=4.2552,
        download_bytes=103_035_128,
        top1=0.77994,
        paper_top1=0.7799,
        paper_source=_RES2NET_PAPER.format(1),
        baseline="resnet50.tv_in1k",
        baseline_reason=_NOT_A1.format("78.0"),
        summary="The paper's main model: 4 splits of 26 channels inside each block, chained.",
    ),
    _res2net(
        name="res2net50_48w_2s.in1k",
        title="Res2Net-50 (48w x 2s)",
        params=25_287_304,
        gmacs=4.1598,
        download_bytes=101_369_672,
        top1=0.77528,
        paper_top1=0.7732,
        paper_source=_RES2NET_PAPER.format(3),
        baseline="resnet50.tv_in1k",
        baseline_reason=_NOT_A1.format("77.5"),
        summary=(
            "2 splits of 48 channels inside each block; only one is convolved, so its largest "
            "receptive field equals ResNet-50's."
        ),
        scales=2,
    ),
    _res2net(
        name="res2net50_14w_8s.in1k",
        title="Res2Net-50 (14w x 8s)",
        params=25_059_816,
        gmacs=4.1789,
        download_bytes=100_491_640,
        top1=0.78142,
        paper_top1=0.7814,
        paper_source=_RES2NET_PAPER.format(3),
        baseline="resnet50.tv_in1k",
        baseline_reason=_NOT_A1.format("78.1"),
        summary="8 narrow splits of 14 channels: the most scales at ResNet-50's cost.",
        scales=8,
    ),
    _res2net(
        name="res2net50_26w_6s.in1k",
        title="Res2Net-50 (26w x 6s)",
        params=37_051_448,
        gmacs=6.2955,
        download_bytes=148_493_784,
        top1=0.78586,
        paper_top1=0.7858,
        paper_source=_RES2NET_PAPER.format(3),
        baseline="resnet101.tv_in1k",
        baseline_reason=(
            "Same classic recipe and input; ResNet-101 is the plain net nearest in cost "
            "(24 % more multiply-accumulates; ResNet-50 has 35 % fewer)."
        ),
        summary="6 splits of 26 channels inside each block; half as much work again as ResNet-50.",
        scales=6,
    ),
    _res2net(
        name="res2net50_26w_8s.in1k",
        title="Res2Net-50 (26w x 8s)",
        params=48_403_776,
        gmacs=8.3359,
        download_bytes=193_952_440,
        top1=0.78950,
        paper_top1=0.7920,
        paper_source=_RES2NET_PAPER.format(3),
        baseline="resnet101.tv_in1k",
        baseline_reason=(
            "Same classic recipe and input; ResNet-101 has nearly its cost, ResNet-50 half."
        ),
        summary="8 splits of 26 channels inside each block; twice the work of ResNet-50.",
        scales=8,
    ),
    _res2net(
        name="res2net50d.in1k",
        title="Res2Net-50d (v1b)",
        params=25_718_352,
        gmacs=4.4948,
        download_bytes=103_112_584,
        top1=0.80280,
        paper_top1=0.8027,
        paper_source=_RES2NET_REPO,
        recipe=_RES2NET_CUTMIX,
        baseline="resnet50d.ra2_in1k",
        baseline_reason=_RA2_REASON.format("CutMix"),
        summary="4 chained splits of 26 channels, with a deeper stem and a newer recipe.",
    ),
    _res2net(
        name="res2net101_26w_4s.in1k",
        title="Res2Net-101 (26w x 4s)",
        params=45_206_688,
        gmacs=8.0670,
        download_bytes=181_304_352,
        top1=0.79192,
        paper_top1=0.7919,
        paper_source=_RES2NET_PAPER.format(2),
        baseline="resnet101.tv_in1k",
        baseline_reason=_SAME_RECIPE + ".",
        summary="4 chained splits of 26 channels inside each block, in a net of 101 layers.",
    ),
    _res2net(
        name="res2net101d.in1k",
        title="Res2Net-101d (v1b)",
        params=45_225_920,
        gmacs=8.3066,
        download_bytes=181_381_808,
        top1=0.81236,
        paper_top1=0.8123,
        paper_source=_RES2NET_REPO,
        recipe=_RES2NET_CUTMIX,
        baseline="resnet101d.gluon_in1k",
        baseline_reason=(
            "Same input, deep stem and nearly the same cost, but another recipe (GluonCV's there, "
            "CutMix here; resnet101d.ra2_in1k would see 256 px): part of any gap is training."
        ),
        summary="4 chained splits, 101 layers, a deeper stem and a newer recipe.",
    ),
    _res2net(
        name="res2next50.in1k",
        title="Res2NeXt-50 (4w x 4s, 8 groups)",
        family="res2next",
        params=24_671_464,
        gmacs=4.1727,
        download_bytes=98_944_328,
        top1=0.78238,
        paper_top1=0.7824,
        paper_source=_RES2NET_PAPER.format(1),
        baseline="resnext50_32x4d.tv_in1k",
        baseline_reason=_SAME_RECIPE + ".",
        summary="4 chained splits inside each block, each convolved in 8 groups as in ResNeXt.",
        cardinality=8,
    ),
)

RESNESTS = (
    _resnest(
        name="resnest14d.gluon_in1k",
        title="ResNeSt-14",
        params=10_611_688,
        gmacs=2.7494,
        download_bytes=42_536_280,
        top1=0.75516,
        baseline_reason=(
            "No plain 14-layer ResNet with published weights has its input and cost; ResNet-18 "
            "has a third less work, other blocks and another recipe."
        ),
        summary="The smallest ResNeSt: 2 branches per block, weighed channel by channel.",
    ),
    _resnest(
        name="resnest26d.gluon_in1k",
        title="ResNeSt-26",
        params=17_069_448,
        gmacs=3.6234,
        download_bytes=68_425_048,
        top1=0.78476,
        baseline_reason=(
            "The nearest plain net, resnet26d.bt_in1k, has 29 % fewer multiply-accumulates and an "
            "older recipe, so its gap would say little."
        ),
        summary="A small ResNeSt: 2 branches per block, weighed channel by channel.",
    ),
    _resnest(
        name="resnest50d.in1k",
        title="ResNeSt-50",
        params=27_483_240,
        gmacs=5.3712,
        download_bytes=110_191_832,
        top1=0.80958,
        paper_top1=0.8113,
        paper_source=_RESNEST_PAPER,
        baseline="resnet50d.ra2_in1k",
        baseline_reason=(
            _RA2_REASON.format("AutoAugment with mixup, and 24 % more multiply-accumulates,")
        ),
        summary="Split attention: 2 branches per block, weighed channel by channel for each photo.",
    ),
    _resnest(
        name="resnest50d_1s4x24d.in1k",
        title="ResNeSt-50 fast (1s4x24d)",
        params=25_677_000,
        gmacs=4.3998,
        interpolation="bicubic",
        download_bytes=102_963_288,
        top1=0.81024,
        paper_top1=0.8099,
        paper_source=_RESNEST_ABLATION,
        baseline="resnet50d.ra2_in1k",
        baseline_reason=_RA2_REASON.format("AutoAugment with mixup"),
        summary="Radix 1: one branch in 4 groups, so the gate has nothing to choose between.",
        radix=1,
        cardinality=4,
    ),
    _resnest(
        name="resnest50d_4s2x40d.in1k",
        title="ResNeSt-50 fast (4s2x40d)",
        params=30_417_592,
        gmacs=4.3691,
        interpolation="bicubic",
        download_bytes=122_050_072,
        top1=0.81146,
        paper_top1=0.8114,
        paper_source=_RESNEST_ABLATION,
        baseline="resnet50d.ra2_in1k",
        baseline_reason=_RA2_REASON.format("AutoAugment with mixup"),
        summary="Radix 4: four branches per block in 2 groups, weighed channel by channel.",
        radix=4,
        cardinality=2,
    ),
    _resnest(
        name="resnest101e.in1k",
        title="ResNeSt-101",
        params=48_275_016,
        gmacs=13.3215,
        input_px=256,
        download_bytes=193_621_624,
        top1=0.82916,
        paper_top1=0.8283,
        paper_source=_RESNEST_REPO,
        baseline="resnet101d.ra2_in1k",
        baseline_reason=(
            _RA2_REASON.format("AutoAugment with mixup, and 27 % more multiply-accumulates,")
        ),
        summary="A large ResNeSt for 256 px photos: 2 branches per block.",
    ),
    _resnest(
        name="resnest200e.in1k",
        title="ResNeSt-200",
        params=70_201_544,
        gmacs=35.5197,
        input_px=320,
        crop_pct=0.909,
        interpolation="bicubic",
        download_bytes=281_682_072,
        top1=0.83880,
        paper_top1=0.8384,
        paper_source=_RESNEST_REPO,
        baseline_reason=(
            "resnet200d.ra2_in1k sees 256 px by default and this one 320 px; a larger picture "
            "alone raises accuracy."
        ),
        summary="A very large ResNeSt for 320 px photos: slow without a GPU.",
    ),
    _resnest(
        name="resnest269e.in1k",
        title="ResNeSt-269",
        params=110_929_480,
        gmacs=77.3487,
        input_px=416,
        crop_pct=0.928,
        interpolation="bicubic",
        download_bytes=444_978_552,
        top1=0.84542,
        paper_top1=0.8454,
        paper_source=_RESNEST_REPO,
        baseline_reason="timm has no plain ResNet of this depth and input with weights.",
        summary="The largest ResNeSt, for 416 px photos: very slow without a GPU.",
    ),
)

BASELINES = (
    _torchvision(
        name="resnet50.tv_in1k",
        title="ResNet-50",
        params=25_557_032,
        gmacs=4.0892,
        download_bytes=102_441_032,
        top1=0.76156,
        paper_top1=0.7615,
        paper_source=_RES2NET_PAPER.format(1),
        summary="The plain partner of Res2Net-50: one 3x3 convolution per block.",
    ),
    _torchvision(
        name="resnext50_32x4d.tv_in1k",
        title="ResNeXt-50 (32x4d)",
        family="resnext",
        params=25_028_904,
        gmacs=4.2305,
        download_bytes=100_388_936,
        top1=0.77632,
        paper_top1=0.7739,
        paper_source=_RES2NET_PAPER.format(1),
        summary="The plain partner of Res2NeXt-50: one 3x3 convolution in 32 groups per block.",
        cardinality=32,
    ),
    _torchvision(
        name="resnet101.tv_in1k",
        title="ResNet-101",
        params=44_549_160,
        gmacs=7.8014,
        download_bytes=178_618_848,
        top1=0.77404,
        paper_top1=0.7737,
        paper_source=_RES2NET_PAPER.format(2),
        summary="The plain partner of the larger Res2Nets: 101 layers.",
    ),
    _resnet(
        name="resnet50d.ra2_in1k",
        title="ResNet-50d (RA2)",
        params=25_576_264,
        gmacs=4.3288,
        download_bytes=102_518_488,
        top1=0.80546,
        recipe=_RA2,
        summary="ResNet-50 with a deeper stem and a modern recipe.",
    ),
    _resnet(
        name="resnet101d.ra2_in1k",
        title="ResNet-101d (RA2)",
        params=44_568_392,
        gmacs=10.5020,
        input_px=256,
        crop_pct=0.95,
        download_bytes=178_696_304,
        top1=0.82254,
        recipe=_RA2,
        summary="ResNet-101 with a deeper stem and a modern recipe, for 256 px photos.",
    ),
    _resnet(
        name="resnet101d.gluon_in1k",
        title="ResNet-101d (GluonCV)",
        params=44_568_392,
        gmacs=8.0410,
        download_bytes=178_696_304,
        top1=0.80466,
        recipe=_GLUON,
        summary="ResNet-101 with a deeper stem, for 224 px photos.",
    ),
    _torchvision(
        name="resnet18.tv_in1k",
        title="ResNet-18",
        params=11_689_512,
        gmacs=1.8141,
        download_bytes=46_796_608,
        top1=0.69752,
        summary="Small and quick: two 3x3 convolutions per block, 18 layers.",
    ),
)

BACKBONES: tuple[BackboneSpec, ...] = (*STARTERS, *RES2NETS, *RESNESTS, *BASELINES)
"""All rows: starters, Res2Net, Res2NeXt, ResNeSt, baselines."""
