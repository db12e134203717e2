"""tokenizer.json <-> the ranks of tiktoken. Knows the file's format, nothing of turns or models.

tiktoken joins the neighbours that spell the token of least id; a tokenizer.json lists its merges, cuts text by rules of
its own and has many options. Where both agree on every text is checked; what could make them differ is refused by name.
"""
from collections.abc import Callable
from math import inf

from minicai.tokens import CONTROLS, Tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# SmolLM2 takes out digits first, one by one: what stands before a digit ends a text, to the rule of last spaces as well
DIGITS = GPT2.replace(r" ?\p{N}+", r"\p{N}").replace(r"(?!\S)", r"(?![^\s\p{N}])")
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
LETTERS = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}"              # what \w is to tiktoken; to others it is less
TOY = rf" ?[{LETTERS}&&[^\p{{Nd}}_]]+| ?\p{{Nd}}| ?(?:[^{LETTERS}\s]|_)+|\s"      # minicai.tokens.WORDS, spelt out
LAST = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
CUTS = {pattern: [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, LAST]
        for pattern in (QWEN, LLAMA3, TOY)}                               # pattern -> steps of the pre-tokenizer
CUTS[GPT2] = [LAST | {"use_regex": True}]                                 # the last step's own is GPT-2's
CUTS[DIGITS] = [{"type": "Digits", "individual_digits": True}, *CUTS[GPT2]]
AS_IS = [*range(33, 127), *range(161, 173), *range(174, 256)]             # GPT-2 writes these bytes as characters, and
SHIFTED = [byte for byte in range(256) if byte not in AS_IS]              # the others as those from U+0100 on
BYTE = {chr(b): b for b in AS_IS} | {chr(256 + i): b for i, b in enumerate(SHIFTED)}
LETTER = {byte: letter for letter, byte in BYTE.items()}


def read_pattern(spec: dict) -> str:
    """The regular expression by which tiktoken cuts a text as the file's pre-tokenizer does. ValueError if unknown."""
    whole = spec["pre_tokenizer"] or {}
    *cut, last = whole.get("pretokenizers", [whole])
    for pattern, steps in CUTS.items():
        if steps == [*cut, {"use_regex": True} | last | {"trim_offsets": False}]:        # offsets are not looked at
            return pattern
    raise ValueError("its pre-tokenizer is not supported, only those of GPT-2, SmolLM2, Llama 3 and Qwen")


def read_added(spec: dict) -> dict[str, tuple[int, bool]]:
    """The added tokens: name -> (id, special?). ValueError if one swallows the white space around it."""
    for token in spec.get("added_tokens") or []:
        if any(token.get(flag) for flag in ("lstrip", "rstrip", "single_word")):
            raise ValueError(f"its added token {token['content']!r} is lstrip, rstrip or single_word: not supported")
    return {token["content"]: (token["id"], token["special"]) for token in spec.get("added_tokens") or []}


def read_ranks(spec: dict) -> dict[bytes, int]:
    """The vocabulary without added tokens, bytes -> id. ValueError where tiktoken would do otherwise by these ids."""
    model, added = spec["model"], read_added(spec)
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback") or spec["decoder"]["type"] != "ByteLevel":
        raise ValueError(f"it is {model.get('type')} as SentencePiece has it: not supported, only byte-level BPE")
    odd = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"} & {key for key in model if model[key]}
    if odd or spec.get("normalizer") not in (None, {"type": "NFC"}):
        raise ValueError(f"its {min(odd, default='normalizer')} is not supported, only NFC")
    ranks = {as_bytes(token): i for token, i in model["vocab"].items() if token not in added}
    ids = [*ranks.values(), *(i for i, _ in added.values())]
    if len(set(ids)) != len(ids) or not all(isinstance(i, int) and 0 <= i < 1 << 31 for i in ids):
        raise ValueError("two of its tokens share one id, or an id is no whole number")
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    order = {(as_bytes(a), as_bytes(b)): n for n, (a, b) in enumerate(pairs)}
    check_merges(ranks, order, model.get("ignore_merges", False))
    return ranks


def check_merges(ranks: dict[bytes, int], order: dict[tuple[bytes, bytes], int], ignore_merges: bool) -> None:
    """ValueError unless joining whatever spells a token, least id first, is applying the merges in their order.

    Neighbours that spell a token came about as in that token alone, for nothing was joined across its ends. So each is
    joined up alone. Left in three parts it can only be a whole word (`ignore_merges`), in two tiktoken would join it.
    """
    before = -1
    for token in sorted(ranks, key=ranks.__getitem__):
        parts = join(token, lambda a, b: order.get((a, b), inf))
        last = order.get(tuple(parts), -1)
        if len(token) != 1 and last < 0 and not (ignore_merges and len(parts) > 2):
            raise ValueError(f"its merges do not lead to its token {token!r}: not supported")
        if 0 <= last < before:
            raise ValueError(f"its ids are not in the order of its merges (token {token!r}): not supported")
        before = max(before, last)


def join(token: bytes, order: Callable[[bytes, bytes], float]) -> list[bytes]:
    """BPE of a token's own bytes up to, but without, the last merge: two parts; more if merges end before; or one."""
    parts = [token[i:i + 1] for i in range(len(token))]
    while len(parts) > 2:
        first, i = min((order(*parts[i:i + 2]), i) for i in range(len(parts) - 1))
        if first == inf:
            break
        parts[i:i + 2] = [parts[i] + parts[i + 1]]
    return parts


def as_bytes(token: str) -> bytes:
    """Bytes of a token as GPT-2 writes them. ValueError: it is no token of a byte-level vocabulary."""
    if not {*token} <= BYTE.keys():
        raise ValueError(f"its token {token!r} is not byte-level (but SentencePiece's?): not supported")
    return bytes(BYTE[letter] for letter in token)


def toy_spec(tokenizer: Tokenizer) -> dict:
    """The toy's tokenizer as a tokenizer.json; the merges are those that join each token up when it stands alone."""
    ranks = tokenizer.ranks
    written = {token: "".join(LETTER[byte] for byte in token) for token in sorted(ranks, key=ranks.__getitem__)}
    parts = [join(token, lambda a, b: ranks.get(a + b, inf)) for token in written]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    added = [{"id": getattr(tokenizer, name), "content": f"<|{name}|>", **flags} for name in CONTROLS]
    model = {"type": "BPE", "ignore_merges": True, "vocab": {written[token]: ranks[token] for token in written},
             "merges": [[written[part] for part in pair] for pair in parts if len(pair) == 2]}
    return {"version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None, "model": model,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": CUTS[TOY]}, "decoder": LAST}
