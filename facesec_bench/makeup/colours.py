"""A makeup prompt in words -> which colour, where, how strongly.

    prompt   = phrase, phrase, ...          "heavy coral blush and dark brown brows, red lipstick"
    phrase   = [strength] [tone] colour region
    strength = subtle, soft, medium, bold, heavy, ...; anywhere before its region
    tone     = light, dark, deep, bright, pale; directly before its colour
    colour   = a CSS colour keyword, in one word or several ("dark red", "medium violet red"), or a makeup word; of
               brows, brown and black are those of hair, and red elsewhere is that of lipstick (see `colour_names`)
    region   = lipstick, eyeshadow, blush, brows, foundation, ... and ends its phrase

Small words (with, and, a, the, ...) and commas may stand between any two words and hold words apart. The longest run of
words that is a colour or a region is taken as one. "light" is a tone before a colour and a strength elsewhere. Of
foundation a tone alone will do ("pale foundation"): it is then of a natural skin colour.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from facesec_bench.errors import ConfigError
from facesec_bench.makeup.colour_names import COLOURS, CSS_COLOURS, HAIR_COLOURS, MAKEUP_COLOURS, SKIN_COLOURS, Colour
from facesec_bench.makeup.regions import REGIONS

REGION_WORDS: dict[str, str] = {
    word: region
    for region, words in {
        "lips": "lipstick lipsticks lips lip lipgloss",
        "lids": "eyeshadow eyeshadows eyelids eyelid lids lid eyes shadow",
        "cheeks": "blush blusher cheeks cheek rouge",
        "brows": "brows brow eyebrows eyebrow",
        "skin": "foundation skin powder complexion",
    }.items()
    for word in words.split()
}
STRENGTHS: dict[str, float] = {
    "faint": 0.2,
    "subtle": 0.3,
    "sheer": 0.3,
    "light": 0.35,
    "soft": 0.45,
    "medium": 0.6,
    "strong": 0.85,
    "bold": 0.85,
    "heavy": 0.95,
    "intense": 0.95,
    "full": 1.0,
}
"""The share of a region's full cover that a word asks for."""
PLAIN = 0.7
"""The share where no strength is named."""
FULL_COVER: dict[str, float] = {"skin": 0.6, "cheeks": 0.5, "lids": 0.75, "brows": 0.75, "lips": 0.85}
"""The opacity of each region at full strength: more looks like paint."""
TONES: dict[str, tuple[float, float]] = {
    "light": (0.35, 1.0),
    "pale": (0.55, 1.0),
    "deep": (-0.25, 1.0),
    "dark": (-0.4, 1.0),
    "bright": (0.0, 1.35),
}
"""How a tone changes a colour: the share of white (or, below 0, of black) mixed in, and a factor on the distance from
its own grey."""
FILLERS = frozenset(
    ("with", "and", "a", "an", "the", "on", "of", "some", "wearing", "in", "plus", "makeup", "look", "my")
)
_EXAMPLE = '"red lipstick with purple eyeshadow"'
_LONGEST = 4  # words in a name: "light golden rod yellow"


@dataclass(frozen=True)
class Layer:
    """One colour on one region.

    Attributes:
        region: one of `regions.REGIONS`.
        colour: sRGB in [0, 1].
        opacity: in the core of the region, in [0, 1].

    Raises:
        ConfigError: an unknown region, or a number outside [0, 1].
    """

    region: str
    colour: Colour
    opacity: float

    def __post_init__(self) -> None:
        if self.region not in REGIONS:
            raise ConfigError(f"makeup: found region {self.region!r}, wanted one of {', '.join(REGIONS)}.")
        if len(self.colour) != 3 or not all(0 <= number <= 1 for number in (*self.colour, self.opacity)):
            raise ConfigError(f"makeup: found {self}, wanted a colour of three numbers and an opacity, all in [0, 1].")


@dataclass(frozen=True)
class Makeup:
    """What is worn: at most one layer a region.

    Raises:
        ConfigError: two layers on one region.
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        worn = [layer.region for layer in self.layers]
        twice = sorted({region for region in worn if worn.count(region) > 1})
        if twice:
            raise ConfigError(f"makeup: found two colours for {', '.join(twice)}, wanted one colour for each region.")

    def on(self, region: str) -> Layer | None:
        """The layer worn on a region, or None."""
        return next((layer for layer in self.layers if layer.region == region), None)


def read_prompt(prompt: str) -> Makeup:
    """What a prompt asks for, one layer a phrase, in the prompt's order. The grammar stands at the top of this file.

    Raises:
        ConfigError: an unknown word, a phrase without colour or region, or two colours, strengths or tones for one
            region.
    """
    layers, phrase = [], list[tuple[str, str]]()
    for kind, word in _read(prompt):
        if kind == "region":
            layers.append(_layer(phrase, word))
            phrase = []
        else:
            phrase.append((kind, word))
    if phrase or not layers:
        found = f"no region after {' '.join(word for _, word in phrase)!r}" if phrase else "no colour and no region"
        raise ConfigError(
            f"makeup prompt {prompt!r}: found {found}, wanted colour before region, as in {_EXAMPLE}; "
            f"regions are {', '.join(REGION_WORDS)}."
        )
    return Makeup(tuple(layers))


def toned(colour: Colour, tone: str) -> Colour:
    """A colour made light, pale, deep, dark or bright, clipped to [0, 1]."""
    share, purity = TONES[tone]
    grey, other = sum(colour) / 3, 1.0 if share > 0 else 0.0
    red, green, blue = (
        min(1.0, max(0.0, (grey + purity * (part - grey)) * (1 - abs(share)) + abs(share) * other)) for part in colour
    )
    return red, green, blue


def _read(prompt: str) -> Iterator[tuple[str, str]]:
    """(kind, word) of each word or name; kinds are colour, region, tone and strength ("light" comes as a tone)."""
    pieces = re.findall(r"[^\W\d_]+|[^\s\-_]", prompt.lower())
    words = ["" if word in FILLERS or word in ",.;&+" else word for word in pieces]
    i = 0
    while i < len(words):
        if not words[i]:
            i += 1
            continue
        for length in range(_LONGEST, 0, -1):
            run = words[i : i + length]
            kind = _kind(run) if len(run) == length and all(run) else None
            if kind:
                yield kind, "".join(run)
                i += length
                break
        else:
            raise ConfigError(_unknown(words[i]))


def _kind(run: list[str]) -> str | None:
    name = "".join(run)
    if name in REGION_WORDS:
        return "region"
    if name in COLOURS and not (len(run) > 1 and run[-1] in REGION_WORDS):  # "lavender blush" is blush
        return "colour"
    if len(run) > 1:
        return None
    return "tone" if name in TONES else "strength" if name in STRENGTHS else None


def _layer(phrase: list[tuple[str, str]], region_word: str) -> Layer:
    """The layer of the words before one region word."""
    region = REGION_WORDS[region_word]
    said: dict[str, list[str]] = {"colour": [], "tone": [], "strength": []}
    bare = all(kind != "colour" for kind, _ in phrase)
    for (kind, word), after in zip(phrase, [*phrase, ("region", region_word)][1:], strict=True):
        if kind == "tone" and after[0] != "colour" and not (bare and region == "skin"):
            if word not in STRENGTHS:
                raise ConfigError(
                    f"makeup prompt: found {word!r} before no colour, wanted it as in '{word} red lipstick'."
                )
            kind = "strength"
        said[kind].append(word)
    for kind, words in said.items():
        if len(words) > 1:
            raise ConfigError(f"makeup prompt: found two {kind}s for {region_word}, {' and '.join(words)}; wanted one.")
    if bare and not (region == "skin" and said["tone"]):
        raise ConfigError(
            f"makeup prompt: found {region_word} without a colour, wanted one before it, as in {_EXAMPLE}."
        )
    colour = COLOURS["natural"] if bare else _colour(said["colour"][0], region)
    share = STRENGTHS[said["strength"][0]] if said["strength"] else PLAIN
    return Layer(region, toned(colour, said["tone"][0]) if said["tone"] else colour, share * FULL_COVER[region])


def _colour(word: str, region: str) -> Colour:
    return (HAIR_COLOURS if region == "brows" else SKIN_COLOURS).get(word, COLOURS[word])


def _unknown(word: str) -> str:
    known = [*REGION_WORDS, *STRENGTHS, *TONES, *COLOURS]
    near = difflib.get_close_matches(word, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"makeup prompt: found the unknown word {word!r}.{hint} Known are the regions {', '.join(REGION_WORDS)}; the "
        f"strengths {', '.join(STRENGTHS)}; the tones {', '.join(TONES)}; the colours {', '.join(MAKEUP_COLOURS)}; "
        f"and the {len(CSS_COLOURS)} CSS colours {', '.join(CSS_COLOURS)}."
    )
