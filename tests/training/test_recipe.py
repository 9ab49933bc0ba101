import pytest

from mscnn.errors import OptionError
from mscnn.training.recipe import FINE_TUNING, Recipe, parse_sizes, usual_warmup


@pytest.mark.parametrize(("text", "phases"), [
    ("", ()), ("64:4", ((64, 4),)), ("32:3,40:2,64:1", ((32, 3), (40, 2), (64, 1))),
    (" 32:3 , 64:1 ", ((32, 3), (64, 1))),
])  # fmt: skip
def test_sizes_are_read(text, phases):
    assert parse_sizes(text) == phases


@pytest.mark.parametrize("text", ["64", "64:", "a:b", "64:1:2", "-4:1", "64;1"])
def test_other_sizes_are_refused_with_an_example(text):
    with pytest.raises(OptionError, match="such as 32:3,64:6"):
        parse_sizes(text)


def test_phases_follow_one_another_and_the_last_goes_on():
    recipe = Recipe(sizes=((32, 3), (48, 1), (64, 2)))
    assert [recipe.size_at(e, 99) for e in range(9)] == [32] * 3 + [48] + [64] * 5


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.1), (3, 0.3), (5, 0.5), (10, 0.5), (90, 0.5)])
def test_the_warm_up_is_short_where_the_run_is(epochs, warmup):
    assert usual_warmup(epochs) == pytest.approx(warmup)
    assert usual_warmup(FINE_TUNING.epochs) == FINE_TUNING.warmup_epochs


def test_without_phases_the_model_says_the_size():
    assert Recipe().size_at(5, 224) == 224


@pytest.mark.parametrize(("name", "value"), [
    ("epochs", 0), ("batch_size", 1), ("lr", 0.0), ("lr", float("nan")), ("smoothing", 1.0),
    ("zoom_in", 0.0), ("zoom_out", 0.5), ("zoom_out_prob", 1.5), ("seed", -1), ("amp", "fp8"),
    ("schedule", "magic"), ("warmup_epochs", 11.0), ("sizes", ((8, 1),)), ("sizes", ((64, 0),)),
    ("randaugment", "auto"), ("randaugment", "rand-q9"), ("randaugment", "rand-m9.5"),
    ("randaugment", "rand-m9-n1.5"), ("randaugment", "rand-m9-tweight"), ("layer_decay", 0.0),
    ("patience", -1), ("val_share", 1.0),
])  # fmt: skip
def test_values_out_of_range_name_the_option(name, value):
    with pytest.raises(OptionError, match=f"--{name.replace('_', '-')}"):
        Recipe(**{name: value})


@pytest.mark.parametrize(("changes", "said"), [
    ({"batch_size": 10, "accumulate": 3}, "--accumulate 3 does not divide --batch-size 10"),
    ({"accumulate": 300}, "--accumulate is 300; it must lie between 1 and 256"),
    ({"warmup_epochs": 3, "epochs": 2}, "--warmup-epochs is 3; .* between 0 and 2"),
])  # fmt: skip
def test_options_that_limit_one_another(changes, said):
    with pytest.raises(OptionError, match=said):
        Recipe(**changes)


# As the first version stored it, in the checkpoint and in training.json.
FIRST_VERSION = (
    '{"epochs": 8, "batch_size": 256, "lr": 0.02, "opt": "muon", "weight_decay": 0.01, '
    '"schedule": "wsd", "decay": 0.35, "warmup_epochs": 0.5, "smoothing": 0.1, "ema": 0.998, '
    '"sizes": [[32, 3], [40, 2]], "zoom_in": 0.35, "zoom_out": 2.5, "zoom_out_prob": 0.25, '
    '"amp": "bf16", "seed": 0, "workers": 1, "threads": 1}'
)


def test_a_recipe_of_the_first_version_is_read_and_changes_nothing():
    recipe = Recipe.from_json(FIRST_VERSION)
    assert recipe == Recipe(epochs=8, sizes=((32, 3), (40, 2)), amp="bf16", threads=1)
    assert (recipe.accumulate, recipe.mixup, recipe.cutmix, recipe.randaugment) == (1, 0, 0, "")
    assert (recipe.layer_decay, recipe.freeze, recipe.patience) == (1, False, 0)
