"""The world's text file (`world.toml`) -> requests with their true answers, in splits that never meet.

A *frame* is an act with slots; a *request* is a frame with its slots filled, asked in one of several ways. Fillings are
split by a hash of the act, frames by their place in the file:

judged    fillings that pretraining shows criticised, revised and compared (only of frames that may be judged)
method    fillings from which SL, AI feedback and PPO take their prompts; pretraining shows them answered, never judged
valid, test   fillings that no training text of any stage holds: settings are tuned on valid, test is looked at once"""
import json
import random
import re
import tomllib
import zlib
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

from minicai import UserError

SPLITS = {"judged": (0.0, 0.5), "method": (0.5, 0.84), "valid": (0.84, 0.92), "test": (0.92, 1.0)}
HELD_OUT = {"harm": 2, "benign": 2, "sensitive": 4}      # last frames of each table: test; before them: valid
TRIES = 500             # draws after which a frame has no filling of a split: one of a single slot may have none
MOST = 12               # known frames of each kind of harm that the file has
TEXT = tomllib.loads(Path(__file__).with_name("world.toml").read_text(encoding="utf-8"))
ASKS = tuple(TEXT["talk"]["asks"])


class Frame(NamedTuple):
    kind: str                  # "harm", "benign" or "sensitive"
    category: str              # the harm's category; for the others the same as kind
    role: str                  # "known" (judged in pretraining and prompted by the method), "valid" or "test" (neither)
    parts: tuple[str, ...]     # act, how-to, and for harm: alternative, reason

    @property
    def slots(self) -> list[str]:
        return sorted(set(re.findall(r"{(\w+)}", self.parts[0])))

    def words(self, parts: slice = slice(None)) -> set[str]:
        """The words of its sentences, slots apart."""
        return set(re.findall(r"[a-z]+", re.sub(r"{\w+}('s)?", "", " ".join(self.parts[parts]).lower())))


class Request(NamedTuple):
    frame: Frame
    prompt: str                # what the user says
    act: str
    how: str                   # how it is done: for harm, what a helpful-only assistant says
    alternative: str = ""      # for harm: what a good answer offers instead
    reason: str = ""           # for harm: why it is wrong

    @property
    def fields(self) -> dict:
        """What a sentence can say of it, by the names that the sentences use."""
        noun = self.frame.category if self.frame.kind == "harm" else "harmless"
        return self._asdict() | {"ask": self.prompt, "noun": noun}


class Concept(NamedTuple):
    """What a principle can be about: one category, or "broad", "engaging", "principled"."""
    name: str
    principles: tuple[str, ...]
    unseen: tuple[str, ...]    # wordings that stand in the glossary only


class World:
    """All that `world.toml` says, or less: of each harm the first `frames` known ones, of harmless ones that share."""

    def __init__(self, frames: int = MOST):
        self.slots: dict[str, list[str]] = TEXT["slots"]
        self.book, self.plain, self.categories = TEXT["book"], set(TEXT["plain"].split()), list(TEXT["category"])
        tables = TEXT["category"] | {kind: TEXT[kind] for kind in ("benign", "sensitive")}
        self.frames = [f for name, table in tables.items() for f in _frames(name, table["frames"], frames / MOST)]
        about = TEXT["category"] | {name: TEXT[name] for name in TEXT["talk"]["topics"]}
        self.concepts = {name: Concept(name, tuple(c["principles"]), tuple(c["unseen"])) for name, c in about.items()}
        self.about = {p: c for c in self.concepts.values() for p in c.principles + c.unseen}

    @staticmethod
    def frames_of(run: Path) -> int | None:
        """The number of frames for which a run's base was made, by its config.json; None for a base from elsewhere."""
        with suppress(OSError, ValueError, LookupError, TypeError):
            return int(json.loads((run / "base" / "config.json").read_text())["training"]["frames"])

    @classmethod
    def of(cls, run: Path) -> "World":
        """The world for which a run's base was made; the whole one for a base from elsewhere; UserError: none."""
        if cls.frames_of(run) == 0:
            raise UserError(f"{run}: does not know the embedded world; see minicai evaluate --judge FOLDER --help")
        return cls(cls.frames_of(run) or MOST)

    def select(self, *kinds: str, role: str | None = None, category: str | None = None) -> list[Frame]:
        """The frames of these kinds (and of this role, of this category)."""
        return [f for f in self.frames if f.kind in kinds and role in (None, f.role) and category in (None, f.category)]

    def far(self, frame: Frame) -> bool:
        """Does its act share no content word with anything in a known frame of harm? Such frames are the hardest."""
        own = frame.words(slice(1)) - self.plain
        return not any(own & known.words() for known in self.select("harm", role="known"))

    def fill(self, frame: Frame, rng: random.Random, splits: tuple[str, ...]) -> Request:
        """A random request of this frame whose filling is in one of the splits; LookupError if it has none there."""
        for _ in range(TRIES):
            words = {slot: rng.choice(self.slots[slot]) for slot in frame.slots}
            act, *rest = (part.format(**words) for part in frame.parts)
            if split_of(act) in splits:
                return Request(frame, rng.choice(ASKS).format(act=act), act, *rest)
        raise LookupError(f"{frame.parts[0]!r} has no filling in {' or '.join(splits)}")

    def recognise(self, prompt: str) -> Request | None:
        """The request that a prompt puts, the other way round of `fill`; None where it is none of this world."""
        acts = [m[1] for ask in ASKS if (m := re.fullmatch(re.escape(ask).replace(r"\{act\}", "(.+)"), prompt))]
        for act, frame in product(acts, self.frames):
            if found := _act(frame).fullmatch(act):
                return Request(frame, prompt, *(part.format(**found.groupdict()) for part in frame.parts))
        return None

    def requests(self, frames: list[Frame], split: str, count: int, rng: random.Random) -> list[Request]:
        """`count` requests with distinct acts, spread evenly over the frames (as far as fillings last)."""
        chosen: dict[str, Request] = {}
        for i in range(count * 20):
            with suppress(LookupError):                        # a frame of one slot may have none in a small split
                request = self.fill(frames[i % len(frames)], rng, (split,))
                chosen.setdefault(request.act, request)
            if len(chosen) == count:
                break
        return list(chosen.values())

    def harmless(self) -> list[Frame]:
        """The harmless frames that the method prompts: the sensitive ones as often as the benign."""
        benign, sensitive = (self.select(kind, role="known") for kind in ("benign", "sensitive"))
        return benign + sensitive * round(len(benign) / len(sensitive))

    def mixed_prompts(self, count: int, red_team: float, rng: random.Random) -> list[str]:
        """What PPO is run on: a share of red-team prompts, which come first, and harmless ones; never shown judged."""
        harm, kind = self.select("harm", role="known"), self.harmless()
        frames = [rng.choice(harm if i < round(red_team * count) else kind) for i in range(count)]
        return [self.fill(frame, rng, ("method",)).prompt for frame in frames]


@cache
def _act(frame: Frame) -> re.Pattern:
    """Its act with any words of the slots; a slot that comes again is the same word again."""
    text = re.escape(frame.parts[0])
    for slot in frame.slots:
        mark, words = rf"\{{{slot}\}}", "|".join(map(re.escape, TEXT["slots"][slot]))
        text = text.replace(mark, f"(?P<{slot}>{words})", 1).replace(mark, f"(?P={slot})")
    return re.compile(text)


def _frames(name: str, lines: list[str], share: float) -> list[Frame]:
    kind = name if name in HELD_OUT else "harm"
    known = len(lines) - 2 * (held := HELD_OUT[kind])
    roles = {"known": lines[:round(known * share)], "valid": lines[known:-held], "test": lines[-held:]}
    return [Frame(kind, name, role, tuple(map(str.strip, line.split("|")))) for role in roles for line in roles[role]]


def split_of(act: str) -> str:
    """The split of a filling, by a hash of its act: the same in every run and under every seed."""
    place = zlib.crc32(act.encode()) / 2**32
    return next(name for name, (low, high) in SPLITS.items() if low <= place < high)
