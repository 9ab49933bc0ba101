"""Names of folders to classes of models."""

import pytest
from timm.data import ImageNetInfo

from mscnn.data.classes import map_classes
from mscnn.errors import DatasetError
from mscnn.models.labels import LabelSet, imagenet_labels, wordnet_lemmas

ZOO = LabelSet(("lion, king of beasts, Panthera leo", "sea lion", "fox squirrel", "crane", "crane"))


@pytest.mark.parametrize(("names", "expected"), [
    (["lion", "sea lion"], [0, 1]), (["Sea_Lion", "king of beasts"], [1, 0]),
    (["lion, king of beasts, Panthera leo"], [0]), (["2", "0"], [2, 0]),
    (["crane (4)", "crane (3)"], [4, 3]),
    # n02129165 is the lion, n02077923 the sea lion; both are one class of the model twice.
    (["n02129165", "n02077923", "lion"], [0, 1, 0]),
])  # fmt: skip
def test_names_indices_and_wordnet_ids(names, expected):
    assert map_classes(names, ZOO).tolist() == expected


def test_a_part_of_a_name_of_ones_own_is_not_the_class():
    own = LabelSet(("mug, blue with a handle", "a", "A", "Caf\u00e9"))
    folders = ["A", "a", "Cafe\u0301", "mug, blue with a handle"]
    assert map_classes(folders, own).tolist() == [2, 1, 3, 0]
    with pytest.raises(DatasetError, match="'mug'"):
        map_classes(["mug"], own)


@pytest.mark.parametrize(("names", "words"), [
    (["lion", "fox"], ["1 of the data's 2", "'fox'"]),  # part of a name is not enough
    (["crane"], ["several", "'crane'"]), (["5"], ["'5'"]), (["n01440764"], ["'n01440764'"]),
    ([f"x{i}" for i in range(12)], ["12 of the data's 12", "'x0'", "'x7' and 4 more"]),
])  # fmt: skip
def test_what_fits_no_class_is_listed(names, words):
    with pytest.raises(DatasetError, match="name folders by") as caught:
        map_classes(names, ZOO)
    assert all(word in str(caught.value) for word in words)


def test_the_names_of_the_model_come_before_indices():
    """Folders of digits sort "10" before "2": the class called 2 is not the third."""
    digits = LabelSet(tuple(sorted(str(i) for i in range(12))))
    assert map_classes(["10", "2"], digits).tolist() == [2, 4]
    with pytest.raises(DatasetError, match="'0'"):  # no index where classes are called by numbers
        map_classes(["0", "1"], LabelSet(tuple(sorted(str(i) for i in range(1, 11)))))


def test_all_wordnet_ids_of_imagenet_in_order():
    wnids = ImageNetInfo("imagenet-1k").label_names()
    assert map_classes(wnids, imagenet_labels()).tolist() == list(range(1000))
    # The two cranes share their lemmas; their ids tell them apart.
    assert map_classes(["n03126707", "n02012849"], imagenet_labels()).tolist() == [517, 134]


def test_wordnet_ids_of_a_larger_imagenet_are_told_apart_too():
    info = ImageNetInfo("imagenet-12k")
    wnids = ["n03126707", "n02012849"]  # the cranes
    known = LabelSet(tuple(info.label_descriptions()), tuple(info.label_names()))
    assert map_classes(wnids, known).tolist() == [info.label_names().index(w) for w in wnids]


def test_a_model_trained_on_folders_of_wordnet_ids():
    wnids = ("n01629819", "n01443537")
    assert map_classes(wnids, LabelSet(wnids)).tolist() == [0, 1]
    lemmas = LabelSet(tuple(wordnet_lemmas(wnids)))
    assert map_classes(wnids[::-1], lemmas).tolist() == [1, 0]
    cranes = "n02012849", "n03126707"
    both = LabelSet(tuple(wordnet_lemmas(cranes)), cranes)
    assert map_classes(cranes, both).tolist() == [0, 1]
