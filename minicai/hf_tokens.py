"""The tokenizer of open weights, with methods and promises of `tokens.Tokenizer`, carried by `tiktoken.Encoding`."""
import json
import unicodedata
from collections import namedtuple
from pathlib import Path

import regex  # a dependency of tiktoken's
import tiktoken

from minicai.hf_bpe import KNOWN, read_added, read_pattern, read_ranks
from minicai.tokens import Turn

Style = namedtuple("Style", "user assistant end close start lead")                # what each is, hf.toml says
CHATS, PLAIN = [Style(**chat) for chat in KNOWN["chats"].values()], Style(**KNOWN["plain"])


def choose_style(controls: dict[str, int], ends: list[int]) -> Style:
    """A chat style if replies end by its token (base models know the tokens, but end by another), else plain text."""
    for style in CHATS:
        if {*regex.findall(r"<\|\w+\|>", "".join(style))} <= controls.keys() and controls[style.end] in ends:
            return style
    return PLAIN._replace(end=next(name for name, i in controls.items() if i == ends[0]),
                          start=PLAIN.start if PLAIN.start in controls else "")


class OpenTokenizer:
    """A tokenizer.json at work; ValueError if tiktoken would differ. `ends`: the ids that end a reply by the config."""
    def __init__(self, spec: dict, ends: list[int]):
        ranks, added = read_ranks(spec), read_added(spec)
        self.spec, self.ends, self.controls = spec, ends, {name: i for name, (i, _) in added.items()}
        if not ends or not {*ends} <= {*self.controls.values()}:
            raise ValueError(f"its added tokens lack the model's eos_token_id {ends}: another model's tokenizer?")
        self.stops = {i for i, special in added.values() if special or i in ends}         # a reply is over at any
        self.vocab_size = 1 + max(*ranks.values(), *self.controls.values())
        self.known = {*ranks.values(), *self.controls.values()} - self.stops              # what says something
        self.lacking = bytes(byte for byte in range(256) if bytes([byte]) not in ranks)     # tiktoken panics at these
        self.pattern, self.style = read_pattern(spec), choose_style(self.controls, ends)
        self.bpe = tiktoken.Encoding("open", pat_str=self.pattern, mergeable_ranks=ranks, special_tokens=self.controls)
        self.end = self.controls[self.style.end]
        self.pad = min(self.stops - {self.end}, default=self.end)             # any will do that ends no reply
        self.ids = Style(*map(self._ids, self.style))

    def _ids(self, template: str) -> list[int]:
        parts = regex.split(r"(<\|\w+\|>)", template)                     # control tokens stand in it by name
        return [i for part in parts for i in ([self.controls[part]] if part in self.controls else self.encode(part))]

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; never a control id, whatever it says. Bytes that the vocabulary lacks are left out."""
        text = unicodedata.normalize("NFC", text) if self.spec.get("normalizer") else text
        pieces = regex.findall(self.pattern, text, regex.V1)       # tiktoken's own cutting gives up on very long runs
        known = (piece.encode(errors="replace").translate(None, self.lacking) for piece in pieces)
        return [i for piece in known if piece for i in self.bpe._encode_single_piece(piece)]

    def decode(self, ids: list[int]) -> str:
        """Text of ids; stops are silent. In plain style the reply alone: base models go on with another question."""
        text = self.bpe.decode([i for i in ids if i in self.known])
        return text.split("\n\nHuman:")[0].removeprefix(" ") if self.style.lead else text

    def render(self, turns: list[Turn]) -> list[int]:
        """A whole conversation, of which the assistant says the last turn, and its end."""
        return [*self.prompt(turns[:-1], begun=turns[-1][1]), self.end]

    def prompt(self, turns: list[Turn], begun: str = "") -> list[int]:
        """The conversation so far and the opening of the assistant's next turn, of which `begun` is already said."""
        ids = [*self.ids.start]
        for n, (role, text) in enumerate([*turns, ("assistant", begun)]):
            ids += [*(self.ids.close if n else []), *getattr(self.ids, role)]
            ids += self.encode(self.style.lead + text) if text else []
        return ids

    def chat_template(self) -> str:
        """The style as a Jinja template, by which others come to the same ids."""
        return f"{{% set style = {json.dumps(self.style._asdict())} %}}{KNOWN['template']['jinja']}"

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"ends": self.ends} | self.spec, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "OpenTokenizer":
        spec = json.loads(path.read_text(encoding="utf-8"))
        return cls(spec, spec.pop("ends"))
