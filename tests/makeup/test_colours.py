"""A makeup prompt is read as it was said, and refused in words where it says nothing or too much."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facesec_bench.errors import ConfigError
from facesec_bench.makeup.colour_names import COLOURS, CSS_COLOURS, HAIR_COLOURS, SKIN_COLOURS
from facesec_bench.makeup.colours import (
    FULL_COVER,
    PLAIN,
    REGION_WORDS,
    STRENGTHS,
    TONES,
    Layer,
    Makeup,
    read_prompt,
    toned,
)
from facesec_bench.makeup.regions import REGIONS


def layer(region, colour, share=PLAIN, tone=None):
    plain = (HAIR_COLOURS if region == "brows" else SKIN_COLOURS).get(colour, COLOURS[colour])
    return Layer(region, toned(plain, tone) if tone else plain, share * FULL_COVER[region])


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("red lipstick with purple eyeshadow", [layer("lips", "red"), layer("lids", "purple")]),
        ("nude lips", [layer("lips", "nude")]),
        ("Heavy coral blush", [layer("cheeks", "coral", 0.95)]),
        ("pale foundation", [layer("skin", "natural", tone="pale")]),
        ("dark red lip gloss", [layer("lips", "darkred")]),
        ("dark wine lip-stick", [layer("lips", "wine", tone="dark")]),
        ("a light pink lip", [layer("lips", "lightpink")]),
        ("light, pink lip", [layer("lips", "pink", tone="light")]),
        ("light peach blush", [layer("cheeks", "peach", tone="light")]),
        ("peach light blush", [layer("cheeks", "peach", 0.35)]),
        ("lavender blush", [layer("cheeks", "lavender")]),
        ("powder blue eye shadow", [layer("lids", "powderblue")]),
        (
            "wearing some bold smoky eyes, and a soft rose lip",
            [layer("lids", "smoky", 0.85), layer("lips", "rose", 0.45)],
        ),
    ],
)
def test_a_prompt_says(prompt, wanted):
    assert read_prompt(prompt) == Makeup(tuple(wanted))


def test_brown_brows_are_the_brown_of_hair_and_red_lips_the_red_of_lipstick():
    assert read_prompt("red lips").layers[0].colour == SKIN_COLOURS["red"] != COLOURS["red"]
    assert read_prompt("brown brows").layers[0].colour == HAIR_COLOURS["brown"] != COLOURS["brown"]
    assert read_prompt("brown lips").layers[0].colour == COLOURS["brown"]


def phrases():
    words = {region: sorted(w for w, r in REGION_WORDS.items() if r == region) for region in REGIONS}
    one = st.tuples(
        st.sampled_from([None, *STRENGTHS]),
        st.sampled_from([None, *TONES]),
        st.sampled_from(sorted(COLOURS)),
    )
    order = st.lists(st.sampled_from(REGIONS), min_size=1, unique=True)
    return order.flatmap(
        lambda regions: st.tuples(*[st.tuples(one, st.just(r), st.sampled_from(words[r])) for r in regions])
    )


@given(said=phrases(), between=st.sampled_from([" with ", ", ", " and ", "; "]), loud=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_combination_of_known_words_is_read_as_said(said, between, loud):
    wanted, spoken = [], []
    for (strength, tone, colour), region, word in said:
        assume(strength is None or tone is not None or strength != "light")  # before a colour "light" is a tone
        # "medium" + "purple" is one colour of CSS; a comma holds such words apart.
        spoken.append(", ".join(part for part in (strength, tone, colour, word) if part))
        wanted.append(layer(region, colour, STRENGTHS.get(strength, PLAIN), tone))
    prompt = between.join(spoken)
    assert read_prompt(prompt.upper() if loud else prompt) == Makeup(tuple(wanted))


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("red lipstik", ["'lipstik'", "Did you mean 'lipstick'?", "eyeshadow", "heavy", "nude", "yellowgreen"]),
        ("7 lips", ["'7'"]),
        ("", ["no colour and no region", "red lipstick with purple eyeshadow"]),
        ("with makeup", ["no colour and no region"]),
        ("red", ["no region after 'red'", "lipstick"]),
        ("lipstick red", ["without a colour"]),
        ("red lipstick, purple", ["no region after 'purple'"]),
        ("heavy foundation", ["foundation without a colour"]),
        ("red and blue lips", ["two colours", "red and blue"]),
        ("red lipstick and pink lips", ["two colours for lips"]),
        ("heavy bold red lips", ["two strengths"]),
        ("deep lipstick in red", ["'deep' before no colour"]),
    ],
)
def test_a_prompt_that_says_too_little_or_too_much_is_refused_in_words(prompt, words):
    with pytest.raises(ConfigError) as caught:
        read_prompt(prompt)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_every_colour_of_css_is_known_in_one_word():
    assert len(CSS_COLOURS) == 148
    for name, colour in CSS_COLOURS.items():
        assert name in SKIN_COLOURS or read_prompt(f"{name} lips").layers[0].colour == colour
    assert CSS_COLOURS["rebeccapurple"] == (0x66 / 255, 0x33 / 255, 0x99 / 255)


@given(colour=st.sampled_from(sorted(COLOURS)))
@settings(max_examples=40, deadline=None)
def test_tones_do_what_they_say(colour):
    plain = COLOURS[colour]
    brightness = {tone: sum(toned(plain, tone)) for tone in TONES}
    assert brightness["pale"] >= brightness["light"] >= sum(plain) >= brightness["deep"] >= brightness["dark"]
    assert all(0 <= part <= 1 for tone in TONES for part in toned(plain, tone))
    assert max(toned(plain, "bright")) >= max(plain) - 1e-9 and min(toned(plain, "bright")) <= min(plain) + 1e-9


@pytest.mark.parametrize("bad", [("nose", (0, 0, 0), 0.5), ("lips", (0, 0, 1.2), 0.5), ("lips", (0, 0, 0), -0.1)])
def test_a_layer_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ConfigError, match="wanted"):
        Layer(*bad)
