"""The words behind the shipped corpus: which carry a label, and which carry none."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Label = Literal["negative", "neutral", "positive"]
LABELS: Final[tuple[Label, ...]] = ("negative", "neutral", "positive")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SUBJECTS: Final[tuple[str, ...]] = _words(
    """phone laptop camera kettle blanket jacket hotel restaurant museum train ferry lecture novel film album
    concert keyboard monitor printer router backpack bicycle tent stove lamp mattress sofa garden kitchen
    parcel invoice ticket website update recipe breakfast soup bread coffee wine umbrella watch tablet
    speaker headset charger cable toolbox workshop course interview exhibition podcast magazine gallery
    library station airport cabin apartment"""
)

PEOPLE: Final[tuple[str, ...]] = (
    "my sister", "our neighbour", "the driver", "a colleague", "my uncle", "the manager", "the editor", "our teacher",
    "the landlord", "a friend", "the receptionist", "my daughter", "the engineer", "the clerk", "our guide", "the chef",
)  # fmt: skip

TIMES: Final[tuple[str, ...]] = (
    "on Monday", "last week", "this morning", "in March", "yesterday", "over the weekend", "after lunch",
    "in the evening", "two days ago", "at noon", "during the holidays", "on the second day", "before the meeting",
    "in autumn",
)  # fmt: skip

ADJECTIVES: Final[Mapping[Label, tuple[str, ...]]] = MappingProxyType(
    {
        "positive": _words(
            """excellent wonderful brilliant superb delightful amazing fantastic lovely great perfect outstanding
            impressive charming gorgeous splendid terrific marvellous reliable comfortable beautiful fabulous pleasant
            magnificent generous flawless stunning"""
        ),
        "negative": _words(
            """terrible awful horrible dreadful disappointing useless broken miserable disgusting poor bad faulty
            annoying shoddy unbearable ugly rude lousy pathetic appalling frustrating defective worthless painful
            atrocious filthy"""
        ),
        "neutral": _words(
            """grey square wooden metal portable seasonal standard regional rectangular annual blue medium local plastic
            digital printed numbered weekly northern separate green round paper central monthly wide"""
        ),
    }
)

ACTIONS: Final[Mapping[Label, tuple[str, ...]]] = MappingProxyType(
    {
        "positive": (
            "delighted everyone", "exceeded our hopes", "impressed the family", "made us smile", "thrilled the guests",
            "won my heart", "charmed the visitors", "brightened the day", "pleased the critics",
            "inspired the children",
        ),
        "negative": (
            "annoyed everyone", "let us down", "ruined the trip", "wasted our money", "angered the guests",
            "fell apart", "insulted the visitors", "failed again", "disgusted the critics", "upset the children",
        ),
        "neutral": (
            "arrived in a box", "opens at nine", "was moved upstairs", "lists four pages", "weighs two kilograms",
            "comes with a label", "was photographed twice", "faces the street", "contains three parts",
            "was filed by number",
        ),
    }
)  # fmt: skip

FEELINGS: Final[Mapping[Label, tuple[str, ...]]] = MappingProxyType(
    {
        "positive": ("happy", "grateful", "thrilled", "delighted", "joyful", "proud", "enchanted", "glad"),
        "negative": ("angry", "furious", "disappointed", "cheated", "sad", "ashamed", "disgusted", "bitter"),
        "neutral": ("seated", "present", "informed", "registered", "scheduled", "indoors", "listed", "enrolled"),
    }
)

CLOSINGS: Final[Mapping[Label, tuple[str, ...]]] = MappingProxyType(
    {
        "positive": (
            "I love it.", "Five stars, a joy.", "I would gladly recommend it.", "A real treasure.", "Pure pleasure.",
            "Thank you, it was the best.", "I enjoyed every minute.",
        ),
        "negative": (
            "I hate it.", "One star, a disaster.", "I regret buying it.", "A complete mess.", "Pure misery.",
            "Never again, it was the worst.", "I want a refund.",
        ),
        "neutral": (
            "It is on the shelf.", "The form has two columns.", "The number is on the back.",
            "It measures nine inches.",
            "See page seven.", "The list is in the hall.", "It is kept in storage.",
        ),
    }
)  # fmt: skip
