"""The tokenizer of open weights, with the methods of `minicai.tokens.Tokenizer`, carried by `tiktoken.Encoding`.

Control tokens go in as ids and texts are never searched for them: whatever a user types can never become one.
"""
import json
import re
import unicodedata
from collections import namedtuple
from pathlib import Path

import regex  # a dependency of tiktoken's
import tiktoken

from minicai.hf_bpe import read_added, read_pattern, read_ranks
from minicai.tokens import Turn

# How turns are written, control tokens by name: what opens a turn, {} for its role, before its text; what ends a reply;
# what closes a turn if another one follows; what starts a conversation; what leads each text; what roles are called.
Style = namedtuple("Style", "opening end close start lead roles")
ROLES = {"user": "user", "assistant": "assistant"}
CHATML = Style("<|im_start|>{}\n", "<|im_end|>", "<|im_end|>\n", "", "", ROLES)
LLAMA3 = Style("<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>", "<|eot_id|>", "<|begin_of_text|>", "", ROLES)
TOY = Style("<|{}|>", "<|end|>", "<|end|>", "<|bos|>", "", ROLES)
PLAIN = Style("\n\n{}:", "", "", "", " ", {"user": "Human", "assistant": "Assistant"})       # text alone, as in hh-rlhf


def choose_style(controls: dict[str, int], ends: list[int]) -> Style:
    """A chat style if replies end by its token (base models know the tokens, but end by another), else plain text."""
    for style in (CHATML, LLAMA3, TOY):
        names = re.findall(r"<\|\w+\|>", style.start + style.close + "".join(map(style.opening.format, style.roles)))
        if {*names} <= controls.keys() and controls[style.end] in ends:
            return style
    return PLAIN._replace(end=next(name for name, i in controls.items() if i == ends[0]),
                          start=LLAMA3.start if LLAMA3.start in controls else "")


class OpenTokenizer:
    """A tokenizer.json at work; ValueError if tiktoken would differ. `ends`: the ids that end a reply by the config."""
    def __init__(self, spec: dict, ends: list[int]):
        ranks, added = read_ranks(spec), read_added(spec)
        self.spec, self.ends, self.controls = spec, ends, {name: i for name, (i, _) in added.items()}
        if not ends or not {*ends} <= {*self.controls.values()}:
            raise ValueError(f"its added tokens lack the model's eos_token_id {ends}: another model's tokenizer?")
        self.stops = {i for i, special in added.values() if special or i in ends}         # a reply is over at any
        self.vocab_size = 1 + max(*ranks.values(), *self.controls.values())
        self.said = {i: token for token, i in ranks.items()}                  # what an id says; stops are silent
        self.said |= {i: name.encode() for name, i in self.controls.items() if i not in self.stops}
        self.lacking = bytes(byte for byte in range(256) if bytes([byte]) not in ranks)     # tiktoken panics at these
        self.pattern, self.style = read_pattern(spec), choose_style(self.controls, ends)
        self.bpe = tiktoken.Encoding("open", pat_str=self.pattern, mergeable_ranks=ranks, special_tokens={})
        self.end = self.controls[self.style.end]
        self.pad = min(self.stops - {self.end}, default=self.end)             # any will do that ends no reply
        self.start, self.close = self._ids(self.style.start), self._ids(self.style.close)
        self.opening = {role: self._ids(self.style.opening.format(name)) for role, name in self.style.roles.items()}

    def _ids(self, template: str) -> list[int]:
        """Ids of a string of this file, in which control tokens stand by name."""
        parts = re.split(r"(<\|\w+\|>)", template)
        return [i for part in parts for i in ([self.controls[part]] if part in self.controls else self.encode(part))]

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; never a control id, whatever it says. Bytes that the vocabulary lacks are left out."""
        text = unicodedata.normalize("NFC", text) if self.spec.get("normalizer") else text
        pieces = regex.findall(self.pattern, text, regex.V1)       # tiktoken's own cutting gives up on very long runs
        known = (piece.encode(errors="replace").translate(None, self.lacking) for piece in pieces)
        return [i for piece in known if piece for i in self.bpe._encode_single_piece(piece)]

    def decode(self, ids: list[int]) -> str:
        """Text of ids; stops are silent. In plain style the reply alone: base models go on with another question."""
        text = b"".join(self.said.get(i, b"") for i in ids).decode("utf-8", errors="replace")
        return text.split("\n\nHuman:")[0].removeprefix(" ") if self.style.lead else text

    def _turns(self, turns: list[Turn]) -> list[int]:
        ids = [*self.start]
        for n, (role, text) in enumerate(turns):
            ids += [*(self.close if n else []), *self.opening[role], *self.encode(self.style.lead + text)]
        return ids

    def render(self, turns: list[Turn]) -> list[int]:
        """A whole conversation and its end. It begins with `prompt` of all turns but the last, whatever they say."""
        return [*self._turns(turns), self.end]

    def prompt(self, turns: list[Turn], begun: str = "") -> list[int]:
        """The conversation so far and the opening of the assistant's next turn, of which `begun` is already said."""
        opened = [*self._turns(turns), *(self.close if turns else []), *self.opening["assistant"]]
        return [*opened, *(self.encode(self.style.lead + begun) if begun else [])]

    def chat_template(self) -> str:
        """The style as a Jinja template, by which others come to the same ids."""
        start, end, close, lead = map(json.dumps, (self.style.start, self.style.end, self.style.close, self.style.lead))
        opening = json.dumps({role: self.style.opening.format(name) for role, name in self.style.roles.items()})
        return (f"{{{{ {start} }}}}{{% for turn in messages %}}{{{{ {opening}[turn.role] + {lead} + turn.content }}}}"
                f"{{{{ {end} if loop.last and not add_generation_prompt else {close} }}}}"
                f"{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {opening}.assistant }}}}{{% endif %}}")

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"ends": self.ends} | self.spec, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "OpenTokenizer":
        spec = json.loads(path.read_text(encoding="utf-8"))
        return cls(spec, spec.pop("ends"))
