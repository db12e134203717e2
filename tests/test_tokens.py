"""Laws of the tokenizer: it is plain BPE, it loses nothing, and no text can speak as a control token."""
import re
from collections import Counter
from itertools import pairwise

import pytest
import torch
from fakes import BYTES
from hypothesis import example, given, strategies

import minicai.tokens as tokens
from minicai.toyworld.bpe import train_bpe

TEXT = "the cat sat on the mat. the mat sat on a cat, banana banana ananas 42 aaaa aaaaaaa"
MARKERS = "<end> <|end|> <|endoftext|> <pad> <|assistant|> </s> <bos><user>hi<end>"


def recounted_bpe(text: str, vocab_size: int) -> dict[bytes, int]:
    """The slow twin: count every pair anew for every merge."""
    words, ranks = [[bytes([b]) for b in word.encode()] for word in re.findall(tokens.WORDS, text)], dict(BYTES)
    while len(ranks) < vocab_size:
        counts = Counter(pair for parts in words for pair in pairwise(parts))
        best = max(counts, key=lambda pair: (counts[pair], pair), default=None)
        if counts[best] < 2:
            break
        ranks.setdefault(b"".join(best), len(ranks))
        for parts in words:
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = [b"".join(best)]
                i += 1
    return ranks


@given(strategies.text(alphabet="ab é1", max_size=60), strategies.integers(256, 290))
@example(TEXT, 275)
def test_training_equals_a_bpe_that_recounts_everything(text, vocab_size):
    assert train_bpe(text, vocab_size) == recounted_bpe(text, vocab_size)


@given(strategies.text() | strategies.sampled_from(MARKERS.split()))
@example(MARKERS)
@example("aé" * tokens.SLICE)                                        # longer than what is encoded at once
def test_decoding_inverts_encoding_and_no_text_ever_becomes_a_control_token(tokenizer, text):
    t, ids = tokenizer, tokenizer.render([("user", text), ("assistant", text)])
    assert [i for i in ids if i in t.stops] == [t.bos, t.user, t.end, t.assistant, t.end]
    assert t.decode(t.encode(text)) == text


def test_a_conversation_by_hand(tokenizer):
    t, turns = tokenizer, [("user", "x"), ("assistant", "y"), ("user", "z")]
    assert t.stops == {t.pad, t.bos, t.user, t.assistant, t.end} == {*range(len(t.ranks), t.vocab_size)}
    assert t.render(turns) == [t.bos, t.user, ord("x"), t.end, t.assistant, ord("y"), t.end, t.user, ord("z"), t.end]
    assert t.prompt(turns) == [*t.render(turns), t.assistant]
    assert t.prompt(turns, "the cat") == [*t.prompt(turns), *t.encode("the cat")]
    assert t.decode([t.bos, ord("a"), t.end, ord("b"), 0xC3, t.pad]) == "ab\N{REPLACEMENT CHARACTER}"
    with pytest.raises(KeyError):
        t.render([("system", "x")])


def test_a_vocabulary_without_all_bytes_or_with_a_shared_id_is_refused(tokenizer):
    with pytest.raises(ValueError, match="256 bytes"):
        tokens.Tokenizer({token: i for token, i in tokenizer.ranks.items() if token != b"q"})
    with pytest.raises(ValueError, match="share"):
        tokens.Tokenizer(tokenizer.ranks | {b"new": 7})


def test_rows_are_padded_on_the_right_to_a_multiple():
    assert tokens.pad([[1], [2, 3, 4]], 9, multiple=2).tolist() == [[1, 9, 9, 9], [2, 3, 4, 9]]
    assert tokens.pad([[0.5], []], 0.0).dtype == torch.float32
