"""How states look: a word, a letter and a colour for each, so that colour alone never tells. No Qt here."""

from dataclasses import dataclass
from typing import Final, Literal

from msc_vision.review.state import FieldReview, Standing
from msc_vision.statistics.rollup import ScoredField

Colour = tuple[int, int, int]

ORANGE: Final[Colour] = (230, 159, 0)
SKY: Final[Colour] = (86, 180, 233)
GREEN: Final[Colour] = (0, 158, 115)
YELLOW: Final[Colour] = (240, 228, 66)
BLUE: Final[Colour] = (0, 114, 178)
VERMILLION: Final[Colour] = (213, 94, 0)
PURPLE: Final[Colour] = (204, 121, 167)
GREY: Final[Colour] = (150, 155, 165)
"""Colours that stay apart with every common colour-vision deficiency (Okabe and Ito), and a grey for what is open."""

Line = Literal["solid", "dashed", "dotted", "thin"]


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state looks.

    Attributes
    ----------
    word : str
    letter : str
        One sign, for where there is no room for the word.
    colour : (int, int, int)
        Red, green, blue; 0 to 255.
    line : str
        Of a border.
    """

    word: str
    letter: str
    colour: Colour
    line: Line = "solid"


STANDINGS: Final[dict[Standing, Mark]] = {
    "not looked at": Mark("not looked at", "·", GREY, "thin"),
    "looked at": Mark("looked at", "L", SKY, "thin"),
    "accepted": Mark("accepted", "A", GREEN, "solid"),
    "rejected": Mark("rejected", "R", VERMILLION, "dashed"),
    "re-image": Mark("re-image", "I", ORANGE, "dotted"),
}
DISPUTED: Final = Mark("people disagree", "!", PURPLE, "dashed")


def field_mark(review: FieldReview) -> Mark:
    """Return how the review of a field looks."""
    return DISPUTED if review.is_disputed else STANDINGS[review.standing]


def figure_words(field: ScoredField, original: ScoredField | None = None) -> str:
    """Return the confluency of a field, or the words for why there is none.

    Parameters
    ----------
    field : ScoredField
        After the review.
    original : ScoredField, optional
        As the run found it: tells what a person left out from what could not be judged.
    """
    score = field.score
    if score.status == "scored" and score.confluency_percent is not None:
        return f"{score.confluency_percent:.0f} %"
    if original is not None and original.score.status == "scored":
        return f"left out, was {figure_words(original)}"
    return {"rejected": "not judgeable", "failed": "failed"}.get(score.status, "no figure")


def field_name(field: ScoredField) -> str:
    """Return what people call a field: its name in the manifest, else the last part of its path."""
    return field.row.field or field.row.path.replace("\\", "/").rsplit("/", 1)[-1]
