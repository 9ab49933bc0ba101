"""The BibTeX entries: they parse, are complete, and there is one for all that has a paper."""

import json
import re

import pytest
import yaml

import mscnn
from mscnn.cli import main
from mscnn.maps.methods import METHODS
from mscnn.models.citing import bibtex
from mscnn.models.registry import list_backbones
from mscnn.page.lenses import LENSES
from mscnn.page.messages import TEMPLATES, words_html
from mscnn.trust.plan import CONTRASTS
from tests.test_packaging import ROOT

REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"author", "title", "howpublished", "year"},
    "software": {"author", "title", "version", "year"},
}
PAPERS = (ROOT / "mscnn" / "models" / "papers.bib").read_text(encoding="utf-8")


def parsed(text):
    """Entries as (type, key, fields), by a reader that counts braces as BibTeX does."""
    found, i = [], 0
    while (i := text.find("@", i)) >= 0:
        head = re.compile(r"@(\w+)\{([^,\s]+),").match(text, i)
        assert head, text[i : i + 60]
        i, fields = head.end(), {}
        while start := re.compile(r"\s*(\w+) = \{").match(text, i):
            i, depth = start.end(), 1
            while depth:
                depth += {"{": 1, "}": -1}.get(text[i], 0)
                i += 1
            assert start[1] not in fields, (head[2], start[1])
            fields[start[1]] = text[start.end() : i - 1]
            i += text[i] == ","
        assert text[i : i + 2] == "\n}", (head[2], text[i : i + 60])
        found.append((head[1], head[2], fields))
    return found


def test_every_entry_has_its_fields_and_a_key_of_its_own():
    entries = parsed(bibtex())
    keys = [key for _, key, _ in entries]
    assert len(set(keys)) == len(keys) == PAPERS.count("@") == PAPERS.count("keywords = {")
    for kind, key, fields in entries:
        assert REQUIRED[kind] <= set(fields), key
        assert re.fullmatch(r"(19|20)\d\d", fields["year"]), key
        names = fields["author"].split(" and ")
        # Family names first, so that BibTeX sorts and abbreviates rightly.
        assert all("," in name or name in ("contributors", "{The mscnn contributors}")
                   for name in names), key  # fmt: skip
        assert fields["year"] in key or kind == "software"
        if "arXiv" in fields.get("journal", ""):
            assert fields["journal"] == f"arXiv preprint arXiv:{fields['eprint']}"
        assert ("eprint" in fields) == ("archiveprefix" in fields), key
        assert "keywords" not in fields


def test_all_that_has_a_paper_is_cited_with_it():
    kinds = {**METHODS, **CONTRASTS}
    families = {spec.family for spec in list_backbones()}
    words = {w for group in re.findall(r"keywords = \{(.*)\}", PAPERS) for w in group.split(", ")}
    assert {*families, *kinds} <= words <= {*families, *kinds, *LENSES, "timm", "mscnn"}
    for name, method in kinds.items():
        year = re.search(r"20\d\d", method.paper)
        for told in re.findall(r"arXiv:([\d.]+\d)", method.paper):
            assert f"eprint = {{{told}}}" in bibtex(name), name
        assert not year or f"year = {{{year[0]}}}" in bibtex(name), name
    for family, told in {
        "res2net": "1904.01169", "res2next": "1904.01169", "resnest": "2004.08955",
        "resnet": "1512.03385", "resnext": "1611.05431", "gradcam": "1610.02391",
    }.items():  # fmt: skip
        assert f"eprint = {{{told}}}" in bibtex(family)


def test_the_program_itself_is_cited_in_its_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    ((_, _, fields),) = parsed(bibtex("mscnn"))
    assert found["version"] == fields["version"] == mscnn.__version__
    assert found["title"] == fields["title"]
    assert found["license"] == fields["license"] == "Apache-2.0"
    assert {"cff-version", "message", "authors"} <= set(found)


def test_cite(capsys):
    assert main(["cite", "res2next50.in1k", "layercam", "starter_resnet"]) == 0
    out = capsys.readouterr().out
    keys = {key for _, key, _ in parsed(out)}
    assert keys == {"wightman2019timm", "gao2021res2net", "xie2017resnext", "jiang2021layercam",
                    "mscnn", "he2016resnet"}  # fmt: skip
    assert bibtex("Grad-CAM++", "Res2Net", "resne xt") == bibtex("gradcam++", "res2net", "resnext")
    assert all(bibtex(method.title) == bibtex(name) != "" for name, method in METHODS.items())
    assert main(["cite", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"bibtex": bibtex()}


@pytest.mark.parametrize("name", ["no_such_net", "", "@article{x", "./assets", "../../etc"])
def test_what_has_nothing_to_cite_is_a_sentence(name, capsys):
    assert main(["cite", "gradcam", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"mscnn: There is nothing to cite for {name!r}; give a model or a method.\n"


def test_the_glossary_is_shown_where_its_words_are_used_and_names_papers_that_are_cited():
    glossary = (TEMPLATES / "glossary.md").read_text(encoding="utf-8")
    defined = re.findall(r"^\*\*(.+)\.\*\* [A-Z]", glossary, re.MULTILINE)
    assert len(defined) == glossary.count("\n\n") + 1 == len(set(defined))
    shown = {lens: re.findall(r"<strong>(.*?)\.</strong>", words_html(lens)) for lens in LENSES}
    assert {word for words in shown.values() for word in words} == set(defined)
    assert {"Top-1, top-5", "Grad-CAM", "Calibration, sure"} <= set(shown["look"])
    of_scales = {"Split, hierarchy", "Radix, split attention, gate", "Logit", "Ablation"}
    assert of_scales <= set(shown["scales"])
    assert {"Pointing game", "ROAD", "Deletion, insertion"} <= set(shown["trust"])
    for told in re.findall(r"arXiv:([\d.]+\d)", glossary):
        assert f"eprint = {{{told}}}" in PAPERS, told
