"""Learning a vocabulary from a text, where pretraining begins with nothing: the ranks that a `Tokenizer` carries."""
import re
from collections import Counter, defaultdict
from itertools import pairwise

from minicai.tokens import WORDS


def train_bpe(text: str, vocab_size: int) -> dict[bytes, int]:
    """Byte-pair encoding (Sennrich et al. 2016): from 256 bytes on, join the most frequent neighbours, pair by pair."""
    ranks = {bytes([i]): i for i in range(256)}                      # token -> id, which is also the rank of its merge
    freqs = Counter(re.findall(WORDS, text))
    words = {word: [bytes([b]) for b in word.encode()] for word in freqs}
    counts, places = Counter(), defaultdict(set)                     # of pairs: frequency, and the words that hold it

    def tally(word: str, sign: int) -> None:                         # counts are kept up to date, not taken anew
        for pair in pairwise(words[word]):
            counts[pair] += sign * freqs[word]
            places[pair].add(word)

    for word in words:
        tally(word, +1)
    while len(ranks) < vocab_size and max(counts.values(), default=0) > 1:
        best = max(counts, key=lambda pair: (counts[pair], pair))    # ties by bytes: the same text, the same tokens
        ranks.setdefault(best[0] + best[1], len(ranks))              # two pairs may spell one token: its first id stays
        for word in places.pop(best):
            tally(word, -1)
            words[word] = _join(words[word], best)
            tally(word, +1)
    return ranks


def _join(tokens: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    out = []
    for token in tokens:
        out.append(out.pop() + token if out and (out[-1], token) == pair else token)
    return out
