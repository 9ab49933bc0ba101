"""Class names: against timm's own ImageNetInfo, and every way a name can be unclear."""

import numpy as np
import pytest
from timm.data.imagenet_info import ImageNetInfo

from mscnn.errors import MscnnError, UnknownClassError
from mscnn.models import labels as labels_module
from mscnn.models.labels import (
    MAX_CANDIDATES,
    LabelSet,
    are_wnids,
    imagenet_labels,
    short,
    wordnet_lemmas,
)
from mscnn.models.manifest import load_manifest

ZOO = LabelSet((
    # 0 to 4
    "lion, king of beasts, Panthera leo", "crane", "crane", "maillot", "maillot, tank suit",
    "bearskin, busby, shako", "brown bear, bruin, Ursus arctos",  # 5 and 6
    "ice bear, polar bear, Ursus Maritimus, Thalarctos maritimus", "harp",  # 7 and 8
    "harmonica, mouth organ, harp, mouth harp", "coffee mug", "coffeepot",  # 9 to 11
))  # fmt: skip
BY_NUMBER = LabelSet(("0", "1", "10", "2"))


def test_imagenet_names_equal_timms():
    assert list(imagenet_labels().names) == ImageNetInfo().label_descriptions()


def test_imagenet_display_names_are_unique_and_lead_back():
    labels = imagenet_labels()
    shown = [labels.display(i) for i in range(len(labels))]
    assert len({s.casefold() for s in shown}) == 1000
    assert [labels.resolve(s) for s in shown] == list(range(1000))


def test_imagenet_full_names_lead_back_except_where_they_are_shared():
    labels = imagenet_labels()
    unclear = []
    for i, name in enumerate(labels.names):
        try:
            assert labels.resolve(name) == i
        except UnknownClassError:
            unclear.append(i)
    # cranes, maillot (whose name opens another one), cardigan (also a corgi)
    assert unclear == [134, 474, 517, 638]


@pytest.mark.parametrize(("index", "shown"), [
    (291, "lion"), (134, "crane (134)"), (517, "crane (517)"), (638, "maillot (638)"),
    (639, "maillot (tank suit)"), (836, "sunglass"), (837, "sunglasses"),
])  # fmt: skip
def test_imagenet_display(index, shown):
    assert imagenet_labels().display(index) == shown


@pytest.mark.parametrize(("query", "index"), [
    (291, 291), (np.int64(291), 291), ("291", 291), (" 0 ", 0), ("0" * 30 + "291", 291),
    ("lion", 291), ("LION", 291), ("Lion,  king of beasts, Panthera leo", 291),
    ("king of beasts", 291), ("panthera l", 291), ("cheeta", 293), ("espresso", 967),
    ("projectile", 744), ("goldfish", 1), ("Egyptian", 285),
])  # fmt: skip
def test_imagenet_resolve(query, index):
    assert imagenet_labels().resolve(query) == index


def test_names_of_tiny_imagenet_ids():
    info = ImageNetInfo()
    wnids = ["n02129165", "n02124075", "n07920052", "n04008634"]
    assert wordnet_lemmas(wnids) == [info.label_name_to_description(w) for w in wnids]
    shown = ["lion", "Egyptian cat", "espresso", "projectile"]
    assert [short(name) for name in wordnet_lemmas(wnids)] == shown


def test_unknown_wordnet_id():
    with pytest.raises(UnknownClassError, match=r"1 of 2 class ids .* 'n00000000'"):
        wordnet_lemmas(["n02129165", "n00000000"])


@pytest.mark.parametrize(("name", "first"), [
    ("lion, king of beasts, Panthera leo", "lion"), ("espresso", "espresso"), ("", ""),
    # Names of one's own, to the letter; the second only begins like ImageNet's.
    (", a", ", a"), ("lion, king of beasts", "lion, king of beasts"), (" mug,  a ", " mug,  a "),
])  # fmt: skip
def test_short(name, first):
    assert short(name) == first


@pytest.mark.parametrize(("query", "index"), [
    ("harp", 8),  # its own name goes before a synonym of another class
    ("bruin", 6),
    ("polar", 7),  # prefix of a later synonym
    ("bearsk", 5),
    ("mug", 10),  # whole word inside a name
    ("of beasts", 0), ("maillot, tank suit", 4), ("maillot (3)", 3), ("crane (2)", 2),
])  # fmt: skip
def test_resolve(query, index):
    assert ZOO.resolve(query) == index


@pytest.mark.parametrize(("query", "listed"), [
    ("crane", ["1 crane", "2 crane"]), ("Maillot", ["3 maillot", "4 maillot (tank suit)"]),
    ("coffee", ["10 coffee mug", "11 coffeepot"]),
    ("bear", ["6 brown bear", "7 ice bear", "5 bearskin"]),  # not bearskin for its prefix
])  # fmt: skip
def test_ambiguous_name_lists_candidates(query, listed):
    with pytest.raises(UnknownClassError) as caught:
        ZOO.resolve(query)
    assert f"'{query}' fits {len(listed)} classes: {', '.join(listed)}; give" in str(caught.value)


def test_ambiguous_name_lists_eight_at_most():
    with pytest.raises(UnknownClassError, match=r"fits 14 classes: .* and 6 more; ") as caught:
        imagenet_labels().resolve("dog")
    assert str(caught.value).count(",") == MAX_CANDIDATES - 1


def test_unknown_name_offers_close_ones_where_there_are_any():
    with pytest.raises(UnknownClassError, match=r"'liom'; this model knows 1000 .*291 lion"):
        imagenet_labels().resolve("liom")
    for labels, query in ((ZOO, "qqqqqq"), (imagenet_labels(), "retriever, golden")):
        with pytest.raises(UnknownClassError, match="No class fits") as caught:
            labels.resolve(query)
        assert ("Close" in str(caught.value)) == (labels is not ZOO)


@pytest.mark.parametrize("query", [12, -1, "12", "99999999999999999999999999", 1.0, None])
def test_index_out_of_range(query):
    with pytest.raises(UnknownClassError, match="knows 12 classes, by name or by an index from 0"):
        ZOO.resolve(query)


@pytest.mark.parametrize("query", ["", "   ", "²", "-1", "(", "." * 500, "a\nb", "\x00"])
def test_odd_text_is_one_short_line(query):
    with pytest.raises(UnknownClassError) as caught:
        ZOO.resolve(query)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


# ImageNet's classes are in the order of WordNet's hierarchy of animals, so each of these kinds is a
# well-known range of indices; the dogs are n02085620 to n02113978.
ANIMALS = {
    "fish": (*range(7), *range(389, 398)),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "snake": range(52, 69),
    "dog": range(151, 269),
    "bear": range(294, 298),
    "monkey": range(370, 383),
}
STARTERS = LabelSet(next(iter(load_manifest().values())).labels)


@pytest.mark.parametrize("kind", ANIMALS)
def test_near_lists_all_of_a_kind(kind):
    labels, expected = imagenet_labels(), set(ANIMALS[kind])
    assert set(labels.near(kind, 1000)) == expected
    assert labels.near(f"black {kind}s") == labels.near(kind)
    assert len(labels.near(kind)) == min(MAX_CANDIDATES, len(expected))
    # The starters' 200 are among ImageNet's 1000, under the same names; their crane is the machine.
    names = {labels.name(i) for i in expected} - {"crane"}
    assert {STARTERS.name(i) for i in STARTERS.near(kind)} == names.intersection(STARTERS.names)


@pytest.mark.parametrize(("text", "shown"), [
    ("car", ["beach wagon", "convertible", "freight car", "limousine", "sports car"]),
    ("sedan", ["beach wagon", "convertible", "freight car", "limousine", "sports car"]),
    ("retreiver", ["golden retriever", "Labrador retriever"]),
    ("Kitten", ["lion", "tabby", "Persian cat", "Egyptian cat", "cougar"]),
    ("banan", ["banana"]), ("mice", []),
    ("person", []),  # that it is a being is no help
    ("   ", []), ("qqqqqq", []),
])  # fmt: skip
def test_near_for_the_starters(text, shown):
    assert [STARTERS.display(i) for i in STARTERS.near(text)] == shown


def test_near_tells_the_cranes_apart_and_knows_classes_of_ones_own():
    labels = imagenet_labels()
    assert 134 in labels.near("bird", 1000)
    assert 517 in labels.near("device", 1000)
    assert LabelSet(("my cup", "tabby", "pug")).near("dog") == [2]
    assert LabelSet(()).near("dog") == []
    assert labels.near("dog", 0) == []


@pytest.mark.parametrize(("text", "sentence"), [
    ("fish", "No class fits 'fish'; this model knows 200 classes, by name or by an index from "
     "0 to 199. Close: 0 goldfish."),
    # The only names with these words are German shepherd dog and birdhouse.
    ("dog", "'dog' fits 6 classes: 24 Chihuahua, 29 standard poodle, 25 Yorkshire terrier, "
     "28 German shepherd, 26 golden retriever, 27 Labrador retriever; give the index or more "
     "of the name."),
    ("bird", "'bird' fits 5 classes: 11 goose, 20 black stork, 22 albatross, 21 king penguin, "
     "76 birdhouse; give the index or more of the name."),
])  # fmt: skip
def test_a_kind_is_answered_with_its_classes(text, sentence):
    with pytest.raises(UnknownClassError) as caught:
        STARTERS.resolve(text)
    assert str(caught.value) == sentence


def test_name_and_display_check_the_index():
    assert ZOO.name(0) == "lion, king of beasts, Panthera leo"
    for ask in (ZOO.name, ZOO.display):
        for index in (-1, 12):
            with pytest.raises(UnknownClassError, match="There is no class"):
                ask(index)


def test_names_made_of_digits_go_before_indices():
    assert BY_NUMBER.resolve("2") == 3
    assert BY_NUMBER.resolve(2) == 2
    assert BY_NUMBER.resolve("3") == 3


def test_no_classes():
    with pytest.raises(UnknownClassError, match="this model has no classes"):
        LabelSet(()).resolve("lion")


def test_missing_files_of_timm_are_a_sentence(monkeypatch):
    with pytest.raises(MscnnError, match=r"has no readable no_such\.txt") as caught:
        labels_module._timm_info("no_such.txt")
    assert "site-packages" not in str(caught.value)
    monkeypatch.setattr("mscnn.models.labels.importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MscnnError, match="come with timm, which is not installed"):
        labels_module._timm_info("imagenet_synsets.txt")


# An accent is one code point in NFC and two in NFD.
OWN = LabelSet((
    "mug, blue with a handle", "plate", "n12345678", "Caf\u00e9", "Cafe\u0301",  # 0 to 4
    "bolt", "Bolt", "bolt", " nut ", "cup (1)",
))  # fmt: skip


def test_names_of_ones_own_stay_to_the_letter():
    shown = [OWN.display(i) for i in range(len(OWN))]
    assert shown == [*OWN.names[:5], "bolt (5)", "Bolt", "bolt (7)", *OWN.names[8:]]
    assert [OWN.resolve(name) for name in shown] == list(range(len(OWN)))
    with pytest.raises(UnknownClassError, match="fits 3 classes"):
        OWN.resolve("BOLT")
    assert OWN.resolve("mug") == 0  # what is typed may be a part of the name
    assert not OWN.is_exactly(0, "mug")
    assert OWN.is_exactly(3, "cafe\u0301")


def test_only_ids_of_imagenet_are_wordnet_ids():
    ids = ImageNetInfo().label_names()
    assert are_wnids(ids)
    assert not are_wnids([*ids, "n12345678"])
