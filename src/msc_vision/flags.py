"""Every flag that a field can carry, and what it means in plain words."""

from collections.abc import Mapping
from typing import Literal

Flag = Literal[
    "blank",
    "out-of-focus",
    "bare-or-full",
    "methods-disagree",
    "pixel-size-doubtful",
    "detaching",
    "bubbles",
    "obscured",
    "strange",
    "unsure",
    "focus-unknown",
    "soft-focus",
    "noisy",
    "saturated",
    "bright-scratches",
    "uneven-light",
    "partly-masked",
]
"""What sets a flag states it as one of these, so that a type checker finds a flag that is not among them."""

FLAG_WORDS: Mapping[Flag, str] = {
    "blank": "black, overexposed, or of one grey value all over",
    "out-of-focus": "out of focus",
    "bare-or-full": "one texture all over, which pale full cover and rough bare surface may both have",
    "methods-disagree": "network and local contrast read far apart",
    "pixel-size-doubtful": "no pixel size is stated, and the one that the network took is far from the usual",
    "detaching": "the layer may come off: a bright band like a rolled edge between cells and bare surface",
    "bubbles": "bubbles hide part of the surface",
    "obscured": "something hides much of the surface, by what the network sees",
    "strange": "unlike what the network was trained on",
    "unsure": "the network is unsure about much of the area",
    "focus-unknown": "nothing to focus on: an empty surface, or cells blurred away",
    "soft-focus": "somewhat out of focus: thin processes may be lost",
    "noisy": "noisy: pale cells may be lost",
    "saturated": "many pixels are saturated",
    "bright-scratches": "long bright scratches on the surface",
    "uneven-light": "uneven light: one corner is much darker than another",
    "partly-masked": "part of the field cannot be judged and does not count",
}
"""Words for each flag; the most serious first."""


def flag_words(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return what flags mean, the most serious first.

    Parameters
    ----------
    flags : tuple of str
        As a run has them. One that this version does not know, of another version, stands last as it is.
    """
    known = [words for flag, words in FLAG_WORDS.items() if flag in flags]
    return (*known, *(flag for flag in flags if flag not in FLAG_WORDS))
