"""Tokens: text <-> ids by byte-level BPE, conversations as turns, right-padded batches. Knows nothing of models."""
import base64
from pathlib import Path

import tiktoken
import torch

Turn = tuple[str, str]                           # ("user" or "assistant", text); a conversation is a list of them
CONTROLS = ("pad", "bos", "user", "assistant", "end")       # ids, never text: whatever a user types can become none
WORDS = r" ?[^\W\d_]+| ?\d| ?(?:[^\w\s]|_)+|\s"  # letters, a digit or signs with the space before; white space
SLICE = 20_000                                   # tiktoken refuses very long texts without a break: encode in slices


class Tokenizer:
    """Byte-level BPE carried by `tiktoken.Encoding`, and behind its vocabulary the ids `pad bos user assistant end`."""
    def __init__(self, ranks: dict[bytes, int]):
        if missing := [b for b in range(256) if bytes([b]) not in ranks]:
            raise ValueError(f"a tokenizer needs all 256 bytes, {len(missing)} are missing (first: {missing[0]})")
        if len(set(ranks.values())) != len(ranks):
            raise ValueError("two tokens share one id")
        self.ranks = ranks
        self.bpe = tiktoken.Encoding("minicai", pat_str=WORDS, mergeable_ranks=ranks, special_tokens={})
        controls = range(first := max(ranks.values()) + 1, first + len(CONTROLS))
        self.pad, self.bos, self.user, self.assistant, self.end = controls
        self.vocab_size, self.stops = controls.stop, set(controls)    # a reply is over at any control token

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; never a control id, whatever the text says."""
        return [i for at in range(0, len(text), SLICE) for i in self.bpe.encode_ordinary(text[at:at + SLICE])]

    def decode(self, ids: list[int]) -> str:
        """Text of ids; control tokens are silent, bytes that are no UTF-8 become U+FFFD."""
        return self.bpe.decode([i for i in ids if i < self.pad])

    def render(self, turns: list[Turn]) -> list[int]:
        """A whole conversation: <bos>, then for each turn its role, its text and <end>."""
        ids = [self.bos]
        for role, text in turns:
            ids += [{"user": self.user, "assistant": self.assistant}[role], *self.encode(text), self.end]
        return ids

    def prompt(self, turns: list[Turn], begun: str = "") -> list[int]:
        """The conversation so far and the opening of the assistant's next turn, of which `begun` is already said."""
        return [*self.render(turns), self.assistant, *self.encode(begun)]

    def save(self, path: Path) -> None:
        path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in self.ranks.items()))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        return cls({base64.b64decode(word): int(rank) for word, rank in map(str.split, path.read_text().splitlines())})


def pad(rows: list[list], value: float, multiple: int = 16) -> torch.Tensor:
    """Rows of uneven length -> (B, T), right-padded with `value`: with causal attention the pads need no mask."""
    width = -(-max(map(len, rows)) // multiple) * multiple           # rounded up: kernels compile per shape
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])
