"""tokenizer.json <-> the ranks of tiktoken. Knows the file's format, nothing of turns or models.

tiktoken joins the neighbours that spell the token of least id; a tokenizer.json lists its merges, cuts text by rules of
its own and has many options. Where both agree on all texts is checked; what could make them differ, refused by name."""
import tomllib
from collections.abc import Callable
from math import inf
from pathlib import Path

from minicai.tokens import CONTROLS, Tokenizer

KNOWN = tomllib.loads(Path(__file__).with_name("hf.toml").read_text(encoding="utf-8"))
CUTS = {cut["pattern"]: [step | {"pattern": {"Regex": cut["pattern"]}} if "pattern" in step else step
                         for step in cut["steps"]] for cut in KNOWN["cuts"].values()}     # expression -> steps
AS_IS = [*range(33, 127), *range(161, 173), *range(174, 256)]   # characters to GPT-2, others are from U+0100 on
LETTER = {b: chr(b) for b in AS_IS} | {b: chr(256 + i) for i, b in enumerate(sorted({*range(256)} - {*AS_IS}))}
BYTE = {letter: byte for byte, letter in LETTER.items()}


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
    vocab = {token: i for token, i in model["vocab"].items() if token not in added}
    if letters := {*"".join(vocab)} - BYTE.keys():
        raise ValueError(f"its tokens hold {min(letters)!r}, no byte (but SentencePiece's?): not supported")
    ids = [*vocab.values(), *(i for i, _ in added.values())]
    if len(set(ids)) != len(ids):                        # at which tiktoken panics
        raise ValueError("two of its tokens share one id")
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    check_merges(vocab, {(a, b): n for n, (a, b) in enumerate(pairs)}, model.get("ignore_merges", False))
    return {bytes(BYTE[letter] for letter in token): i for token, i in vocab.items()}


def check_merges(vocab: dict[str, int], order: dict[tuple[str, str], int], ignore_merges: bool) -> None:
    """ValueError unless joining whatever spells a token, least id first, is applying the merges in their order.

    Neighbours that spell a token came about as in that token alone, for nothing was joined across its ends. So each is
    joined up alone. Left in three parts it can only be a whole word (`ignore_merges`); two tiktoken would join."""
    made = []                                            # by which merge each token is, in the order of their ids
    for token in sorted(vocab, key=vocab.__getitem__):
        parts = join(token, lambda a, b: order.get((a, b), inf))
        if tuple(parts) in order:
            made.append(order[tuple(parts)])
        elif len(token) != 1 and not (ignore_merges and len(parts) > 2):
            raise ValueError(f"its merges do not lead to its token {token!r}: not supported")
    if made != sorted(made):
        raise ValueError("its ids are not in the order of its merges: not supported")


def join(token: str, order: Callable[[str, str], float]) -> list[str]:
    """BPE of a token's own letters up to, but without, the last merge: two parts; more if merges end before; or one."""
    parts = [*token]
    while len(parts) > 2 and (best := min((order(*parts[i:i + 2]), i) for i in range(len(parts) - 1)))[0] < inf:
        i = best[1]
        parts[i:i + 2] = [parts[i] + parts[i + 1]]
    return parts


def toy_spec(tokenizer: Tokenizer) -> dict:
    """The toy's tokenizer as a tokenizer.json; the merges are those that join each token up when it stands alone."""
    steps = CUTS[KNOWN["cuts"]["toy"]["pattern"]]
    vocab = {"".join(map(LETTER.get, token)): i for token, i in sorted(tokenizer.ranks.items(), key=lambda x: x[1])}
    merges = [pair for token in vocab if len(pair := join(token, lambda a, b: vocab.get(a + b, inf))) == 2]
    added = [{"id": getattr(tokenizer, name), "content": f"<|{name}|>", **KNOWN["control"]} for name in CONTROLS]
    return {"version": "1.0", "added_tokens": added, "normalizer": None, "post_processor": None, "decoder": steps[-1],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "model": {"type": "BPE", "ignore_merges": True, "vocab": vocab, "merges": merges}}
