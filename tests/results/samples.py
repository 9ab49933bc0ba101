"""Small results made by hand, for the tests of documents, tables and files."""

import dataclasses

import numpy as np

from mscnn.geometry import ViewGeometry
from mscnn.results import explanation, receptive_field, scales
from mscnn.results.evaluation import ClassResult, Evaluation, ReliabilityBin

NAN = float("nan")
LION, CAT = explanation.Score(3, "lion", 0.75), explanation.Score(0, "cat", 0.25)
WEIGHTS = explanation.WeightsInfo("bundled", "assets/weights/x.safetensors", "ab" * 32)
PATHS = 10**40 + 1


def on_photo(size=(400, 200), side=64):
    """The middle square of a photo, seen at ``side`` px."""
    resized = (round(side * size[0] / min(size)), round(side * size[1] / min(size)))
    offset = ((resized[0] - side) // 2, (resized[1] - side) // 2)
    return ViewGeometry(photo=size, resized=resized, offset=offset, view=(side, side))


GEOMETRY = on_photo()
VIEW = np.zeros((64, 64, 3), dtype=np.uint8)


def predicted(geometry=GEOMETRY, name="/home/me/lion.jpg", target=LION):
    photo = explanation.PhotoInfo(name, geometry.photo[0], geometry.photo[1], geometry.crop)
    logits = np.array([0, 0, 0, 1], dtype=np.float32)
    return explanation.Prediction(photo, "starter_resnet", WEIGHTS, "cpu", (target, CAT), logits)


def explained(
    raw=((4, -1), (0, -3)), *, size=(400, 200), target=LION, name="/home/me/lion.jpg", **more
):
    geometry = on_photo(size)
    cam = explanation.CamMap("layer4", 3, "gradcam", np.asarray(raw, dtype=np.float32), geometry)
    return explanation.Explanation(
        predicted(geometry, name, target), VIEW, (target,), (cam,), **more
    )


def column(name, raw=((4, -1), (0, -3)), **changes):
    facts = explanation.ModelFacts(
        params=1000, gmacs=0.5, input_px=64, top1=0.5, top1_source="here"
    )
    return explanation.ComparedModel(name, explained(raw, **changes), facts, 12.5)


def failed(note="not on this machine"):
    return explanation.ComparedModel("other", None, None, None, note)


def compared(*columns):
    agreement = explanation.Agreement("a", "b", None, 0.25)
    return explanation.Comparison("lion", "last", columns, (agreement,), 4.0, "a hint")


FLAT = np.stack([np.full((2, 2), 1), np.full((2, 2), 3)])


def block(name, kind="hierarchy", maps=FLAT, shares=(0.25, 0.75), **changes):
    paths = (("1x1", "3x3"), ("1x1",))
    splits = tuple(
        scales.SplitEvidence(i, paths[i], 11, 27 - 8 * i, 4 * share, share)
        for i, share in enumerate(shares)
    )
    raw = np.asarray(maps, dtype=np.float32)
    made = scales.BlockScales(name, kind, 4, splits, raw, 4.0, 3, GEOMETRY)
    return dataclasses.replace(made, **changes)


def scaled(*blocks):
    return scales.ScaleReport(predicted(), LION, blocks, VIEW, 0.5, ("a notice",))


def attention(name, gates, cardinality=1, reference=None):
    opened = np.asarray(gates, dtype=np.float32)
    radix = len(opened)
    maps = np.arange(radix * 4, dtype=np.float32).reshape(radix, 2, 2)
    entropy = 0.8 if radix > 1 else None
    return scales.BlockAttention(
        name, radix, cardinality, opened, entropy, reference, maps, 3, GEOMETRY
    )


def attended(*blocks):
    return scales.AttentionReport(predicted(), LION, blocks, 4, 0.5)


def theory(name="net", *, blocks=True):
    one, many = receptive_field.Spectrum({19: 2}), receptive_field.Spectrum({35: PATHS, 11: 1})
    extent = {"low": -5, "high": 6}
    splits = (
        receptive_field.SplitField(0, ("1x1", "3x3"), many, stride_px=4, **extent),
        receptive_field.SplitField(1, ("1x1",), one, stride_px=4, **extent),
    )
    inside = receptive_field.BlockField("layer1.1", "hierarchy", 4, splits, many, **extent)
    stage = receptive_field.StageField("layer1", 4, many, **extent)
    return receptive_field.ReceptiveField(name, 224, (stage,), (inside,) if blocks else ())


def effective():
    squares = (scales.Square(0.5, 3), scales.Square(0.99, 7))
    return scales.EffectiveField(
        model="net", layer="layer2.1", split=1, unit=(1, 2), centre=(3.5, NAN),
        gradient=np.eye(8, dtype=np.float32), theoretical=(-4.0, -3.0, 9.0, 10.0),
        squares=squares, log_squares=squares[:1], inputs=2, trained=False, view=VIEW,
        geometry=GEOMETRY, seconds=0.25,
    )  # fmt: skip


def stepped(factor, raw=((1, 1), (1, 1)), **changes):
    shade = np.full((64, 64, 3), 100, dtype=np.uint8)
    cam = np.asarray(raw, dtype=np.float32)
    step = scales.SweepStep(factor, (1, 2, 63, 60), 0.5, 1, 1.5, 40.0, cam, shade)
    return dataclasses.replace(step, **changes)


STEPS = (
    stepped(2.0), stepped(1.0, [[0, 8], [0, 0]]),
    stepped(0.5, [[-1, 0], [0, 0]], energy_ratio=None),
)  # fmt: skip
UNKNOWN = scales.SweepCurve("=other", None, "", (), None, None, "it does not know lions")


def curve(name, *steps, octaves=1.5):
    return scales.SweepCurve(name, 3, "lion", steps, octaves, 0.4, seconds=2.0)


def swept(*curves, partial=False):
    return scales.Sweep("lion", (2.0, 1.0, 0.5), "mean", (0.1, 0.2, 1 / 3, 1.0), curves, partial)


def evaluated(count=3, **changes):
    bins = tuple(ReliabilityBin(i / 15, (i + 1) / 15, 0, None, None) for i in range(15))
    found = Evaluation(
        model="starter_resnet", weights=WEIGHTS, device="cpu", part="all images",
        class_map={"=zero": (0, "thing 0"), "one": (1, "thing 1")}, known_classes=count,
        images=3, top1=2 / 3, top5=1.0, ece=0.0467, seconds=1.5,
        bins=(*bins[:9], ReliabilityBin(0.6, 2 / 3, 3, 0.62, 2 / 3), *bins[10:]),
        classes=(
            ClassResult(0, "thing 0", 2, 0.5, 1.0, 1, 1.0),
            ClassResult(1, "=thing 1", 1, 1.0, 1.0, 0, None),
        ),
        confusion={(0, 0): 1, (0, 2): 1, (1, 1): 1}, labels={i: f"thing {i}" for i in range(count)},
        unreadable=(("a/bad.png", "'bad.png' is empty."),),
        answers=np.array([[0, 0, 0.9], [0, 2, 0.8], [1, 1, 0.7]]),
    )  # fmt: skip
    return dataclasses.replace(found, **changes)
