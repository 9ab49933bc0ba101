"""What the dropdowns offer."""

from __future__ import annotations

from mscnn.maps.methods import METHODS
from mscnn.models import registry
from mscnn.models.labels import LabelSet
from mscnn.page import choices
from mscnn.page.examples import examples


def test_every_backbone_is_offered_once_and_the_owners_come_first():
    offered = choices.model_choices(("mine", "./starter_resnet"))
    assert offered[0] == ("Yours · mine", "mine")
    assert offered[1] == ("Yours · starter_resnet", "./starter_resnet")
    names = [name for _, name in offered]
    assert sorted(names[2:]) == sorted(spec.name for spec in registry.list_backbones())
    texts = [text for text, _ in offered]
    assert len(set(texts)) == len(texts)


def test_models_stand_in_groups_each_named_in_words():
    prefixes = [text.split(" · ")[0] for text, _ in choices.model_choices()]
    groups = list(dict.fromkeys(prefixes))
    assert len(groups) == 3
    assert prefixes == sorted(prefixes, key=groups.index)


def test_every_method_is_offered_and_only_slow_ones_are_called_slow():
    offered = {name: text for text, name in choices.method_choices()}
    assert set(offered) == set(METHODS)
    assert next(iter(offered)) == "gradcam"
    slow = {name for name, text in offered.items() if "slow" in text}
    assert slow == {"scorecam", "ablationcam"}


def test_every_class_is_offered_once_in_alphabetical_order():
    labels = LabelSet(("zebra", "Abacus", "crane, bird", "crane, machine", "lion, king of beasts"))
    offered = choices.class_choices(labels)
    assert sorted(int(index) for _, index in offered) == [0, 1, 2, 3, 4]
    names = [name for name, _ in offered]
    assert names == sorted(names, key=str.lower)
    assert len(set(names)) == 5  # two cranes can be told apart


def test_four_or_more_example_photographs_come_with_installed_packages():
    found = examples()
    labels = [example.label for example in found]
    assert len(found) >= 4
    assert len(set(labels)) == len(labels)
    assert {"Lion", "Cat", "Coffee"} <= set(labels)
    assert all(example.path.is_file() and example.credit for example in found)
