"""What the Features tab says and draws: choices, cards as HTML, table rows; no gradio."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mscnn.page.compare_view import rounded, title
from mscnn.page.features_search import LISTED, Answer, Found
from mscnn.page.features_sets import OwnersFile, Picture, Where
from mscnn.page.scales_view import block_title, models_of
from mscnn.results.features import FeatureHead
from mscnn.results.receptive_field import ReceptiveField

EXAMPLES = "examples"
HEADERS = ("Model", "Rank", "Photograph", "Cosine similarity")
NUMERIC = frozenset(("Rank", "Cosine similarity"))
EMPTY = '<p class="empty">The photographs most like yours appear here.</p>'
POOLED = ("Pooled features (just before the class)", str(Where()))


@dataclass(frozen=True, slots=True)
class Shown:
    """What one visitor sees on the Features tab.

    Attributes:
        asked: set, place and models; see ``asked``.
        photo: fingerprint of the photo.
    """

    asked: tuple[str, ...]
    photo: str


def asked(among: str, where: str, model: str, also: Sequence[str] | None) -> tuple[str, ...]:
    """What was asked for, to tell whether an answer is to the same question."""
    return (among, where, *models_of(model, also))


def where_choices(field: ReceptiveField | None, stages: int = 0) -> list[tuple[str, str]]:
    """Places as (text, value): the pooled features, the stages, the splits of the blocks.

    Args:
        field: of the page's model, where it is known.
        stages: how many stages it has where it is not; 0 where that is not known either.
    """
    if field is None:
        return [POOLED, *((f"Stage {n}", f"stage{n}") for n in range(1, stages + 1))]
    found = [POOLED]
    found += [
        (f"Stage {number} · sees up to {stage.rf_max_px} px", f"stage{number}")
        for number, stage in enumerate(field.stages, 1)
    ]
    found += [
        (
            f"{block_title(block.block)}, split {split.index} · sees up to {split.rf_max_px} px",
            f"{block.block}/{split.index}",
        )
        for block in field.blocks
        for split in block.splits
        if len(block.splits) > 1
    ]
    return found


def among_choices(examples: int, files: Sequence[OwnersFile]) -> list[tuple[str, str]]:
    """Sets as (text, value): the examples, then the owner's files by number."""
    found = [(f"The {examples} example photographs of this page", EXAMPLES)]
    return found + [(file_text(file), str(number)) for number, file in enumerate(files)]


def file_text(file: OwnersFile) -> str:
    """A file as the list names it."""
    photos = f"{len(file.names):,} photograph" + ("" if len(file.names) == 1 else "s")
    where = where_text(Where.of_file(file.head))
    return f"{file.name} ({photos}; {title(file.head.model)}, {where})"


def where_text(where: Where) -> str:
    """A place in words."""
    if where.stage is None:
        return "pooled features"
    number = re.fullmatch(r"(?:stage|layer)(\d+)", where.stage)
    if number:
        return f"stage {number[1]}"
    words = block_title(where.stage)
    words = words[0].lower() + words[1:]
    return words if where.split is None else f"{words}, split {where.split}"


def other_model(file: OwnersFile, model: str) -> str:
    """Say that a file's own model was asked instead of the page's; "" where they are the same.

    Args:
        file: the set that is searched.
        model: the page's model, a folder's path included.
    """
    if same_model(file.head, model):
        return ""
    own = title(file.head.model)
    return (
        f"{file.name} holds features of {own}, so your photo is shown to {own} here, not to "
        f"{title(model)}."
    )


def same_model(head: FeatureHead, model: str) -> bool:
    """Whether a file's head names this model; of a folder its own name counts."""
    return title(head.model) == title(model)


def grid_html(photo: Picture, answers: Sequence[Answer]) -> str:
    """A grid of cards for each model: the photo, then its neighbours; text is escaped."""
    return f'<div class="near">{"".join(_section(photo, answer) for answer in answers)}</div>'


def _section(photo: Picture, answer: Answer) -> str:
    name = html.escape(title(answer.model))
    head = f"<h3>{name}</h3>"
    if answer.note:
        return (
            f'<section class="near-model">{head}<p class="note">{_text(answer.note)}</p></section>'
        )
    cards = [
        f'<li class="near-own"><img alt="Your photo" src="{photo.url}">'
        '<span class="near-name">Your photo</span></li>'
    ]
    cards += [_card(rank, found) for rank, found in enumerate(answer.shown, 1)]
    return (
        f'<section class="near-model">{head}<p class="note">{_text(_facts(answer))}</p>'
        f'<ol class="near-cards" aria-label="Most similar first, by {name}">{"".join(cards)}</ol>'
        "</section>"
    )


def _card(rank: int, found: Found) -> str:
    name = _text(found.name)
    alt = f"Neighbour {rank}: {name}, similarity {found.similarity:.3f}"
    picture = f'<img alt="{alt}" src="{found.url}">'
    if found.url is None:
        label = f'role="img" aria-label="{alt}; the photograph is not there"'
        picture = f'<div class="near-missing" {label}>no picture</div>'
    return (
        f'<li>{picture}<span class="near-name">{name}</span>'
        f'<span class="near-similarity">{found.similarity:.3f}</span></li>'
    )


def _facts(answer: Answer) -> str:
    photos = "1 photograph" if answer.searched == 1 else f"{answer.searched:,} photographs"
    text = f"By {where_text(answer.where)}: {answer.width:,} numbers, {photos} compared."
    if answer.left_out:
        more = len(answer.left_out) - 2
        names = ", ".join(answer.left_out[:2]) + (f" and {more} more" if more > 0 else "")
        text += f" Left out, for it is your photo itself: {names}."
    if answer.searched > LISTED:
        text += f" The table lists the nearest {LISTED}."
    if not answer.shown:
        text += " There is no other photograph to compare with."
    return text


def _text(text: str) -> str:
    """Text for HTML, control characters and such replaced."""
    return html.escape("".join(c if c.isprintable() else "?" for c in text), quote=True)


def rows(answers: Sequence[Answer]) -> list[list[Any]]:
    """The table: every similarity, model by model, most similar first."""
    return [
        [title(answer.model), rank, found.name, rounded(found.similarity, 4)]
        for answer in answers
        for rank, found in enumerate(answer.listed, 1)
    ]
