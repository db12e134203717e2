"""Files that people have -> prompts and comparisons: plain lines, JSONL, hh-rlhf, red_team_attempts, TRL; also .gz."""
import json
import random
from collections.abc import Callable
from os.path import commonprefix
from pathlib import Path

from minicai import UserError, blamed, feedback, read_text, revise

SPEAKERS, REPLY = {"user": "Human", "assistant": "Assistant"}, "\n\nAssistant:"


class Files:
    """Prompts of people's own, kept in the run's base, in place of `toyworld.source.Embedded`: nobody knows truth."""
    def __init__(self, path: Path):
        with blamed(f"{path}: expected what train_sl.py wrote"):
            self.harm, self.kind = json.loads(path.read_text(encoding="utf-8"))

    def red_team(self, count: int, rng: random.Random) -> list[str]:
        return rng.sample(self.harm, min(count, len(self.harm)))

    def helpful(self, count: int, rng: random.Random) -> list[str]:
        return rng.sample(self.kind, min(count, len(self.kind)))

    def mixed(self, count: int, red_team: float, rng: random.Random) -> list[str]:
        harm = round(red_team * count)
        return rng.choices(self.harm, k=harm) + rng.choices(self.kind, k=count - harm)

    label = None                                             # nobody here can say which answer helps: --comparisons

    def rates(self, assistant, count: int, seed: int) -> dict[str, float]:
        return {}

    def report(self, log, name: str, assistant, count: int, seed: int) -> None:
        asked = self.harm[:4] + self.kind[:4]
        said = assistant.reply([[("user", prompt)] for prompt in asked])
        log.say(f"{name} answers:" + "".join(f"\nHuman: {p}\nAssistant: {r}" for p, r in zip(asked, said, strict=True)))

    def report_reward(self, log, items: list[feedback.Comparison], score: Callable) -> None:
        sure = [i for i in items if abs(i.p_a - 0.5) > 0.25]
        a, b = (score([i.prompt for i in sure], [getattr(i, side) for i in sure]).tolist() for side in "ab")
        right = sum((x > y) == (i.p_a > 0.5) for i, x, y in zip(sure, a, b, strict=True))
        log.say(f"the reward model keeps to {right} of {len(sure)} sure held-out labels")


def prompts(path: str | Path) -> list[str]:
    """The prompts of a text file, one a line, or of JSON records. UserError names file and line of what is wrong."""
    text = read_text(path)
    if not {".json", ".jsonl"} & {*Path(path).suffixes} and not text.lstrip().startswith(("{", "[{")) and text.strip():
        return [line.strip() for line in text.split("\n") if line.strip()]
    return read_records(path, text, prompt_of)


def fitting(path: str | Path, tokenizer, room: int) -> list[str]:
    """The prompts of a file; UserError where one has more than `room` tokens."""
    for prompt in (found := prompts(path)):
        if (length := len(tokenizer.prompt([("user", prompt)]))) > room:
            raise UserError(f"{path}: a prompt has {length} tokens, the model has room for {room}: {prompt[:40]!r}...")
    return found


def comparisons(path: str | Path) -> list[feedback.Comparison]:
    """Human comparisons, the chosen answer first. UserError names file and line of what is wrong."""
    return read_records(path, read_text(path), comparison_of)


def examples(path: str | Path) -> tuple[list[revise.Revision], list[feedback.Comparison]]:
    """Worked examples for few-shot prompts: of critique and revision, and of comparison. "" for none."""
    found = read_records(path, read_text(path), example_of) if path else []
    return tuple([e for e in found if isinstance(e, kind)] for kind in (revise.Revision, feedback.Comparison))


def example_of(record: dict) -> revise.Revision | feedback.Comparison:
    """prompt, response, principle, critique, revision; or prompt, a, b, better ("A" or "B") and perhaps reason."""
    r = {key: clean(text) for key, text in record.items() if isinstance(text, str) and text.strip()}
    if r.keys() == {"prompt", "response", "principle", "critique", "revision"}:
        return revise.Revision(r["prompt"], r["response"], [r["principle"]], [r["critique"]], [r["revision"]])
    if r.keys() - {"reason"} == {"prompt", "a", "b", "better"} and r["better"] in ("A", "B"):
        reasons = [[r["reason"]]] if "reason" in r else []
        return feedback.Comparison(r["prompt"], r["a"], r["b"], p_a=float(r["better"] == "A"), reasons=reasons)
    raise ValueError("expected prompt, response, principle, critique, revision or prompt, a, b, better (A or B): texts")


def read_records(path: str | Path, text: str, read: Callable) -> list:
    """read(record) of all records in a text, which is a JSON array or has an object a line."""
    array, found = text.lstrip().startswith("["), []
    for n, part in enumerate([text] if array else text.split("\n"), start=1):
        with blamed(f"{path}: expected a JSON array" if array else f"{path}, line {n}: expected a JSON object"):
            records = json.loads(part) if array else [json.loads(part)] if part.strip() else []
        for k, record in enumerate(records, start=1):
            with blamed(f"{path}, record {k}" if array else f"{path}, line {n}"):
                found.append(read(record if isinstance(record, dict) else {}))
    if not found:
        raise UserError(f"{path}: holds no record; expected at least one, a line each")
    return found


def prompt_of(record: dict) -> str:
    """What a record asks: its prompt or messages, a transcript's first question, or what two answers are answers to."""
    if "transcript" in record:
        return asked(str(record["transcript"]).partition("Human:")[2].partition(REPLY)[0])
    given = record.get("prompt") or record.get("messages")
    return asked(given) if given or "chosen" not in record else comparison_of(record).prompt


def comparison_of(record: dict) -> feedback.Comparison:
    """Transcripts (hh-rlhf), texts or messages with a prompt or without (TRL), multiple choice (HHH) -> Comparison."""
    both = [record.get(key, record.get(other)) for key, other in (("chosen", "corrects"), ("rejected", "incorrects"))]
    both = [x[0] if isinstance(x, list) and x and isinstance(x[0], str) else x for x in both]    # of many, the first
    if [*map(type, both)] not in ([str, str], [list, list]):
        raise ValueError("expected an object with chosen and rejected, or corrects and incorrects, both alike")
    both = [transcript(x) if isinstance(x, list) else x for x in both]
    prompt, cut = record.get("prompt"), commonprefix(both).rfind(REPLY)
    if cut >= 0:                                             # whole conversations, the same up to the last answer
        prompt, both = prompt or both[0][:cut], [x[cut + len(REPLY):] for x in both]
    return feedback.Comparison(asked(prompt), *map(clean, both), p_a=1.0, source="human")


def asked(given: str | list) -> str:
    """A prompt as one string: earlier turns stand in it as hh-rlhf writes them, without its words around."""
    if isinstance(given, list):
        given = transcript(given[:-1] if transcript(given) and given[-1]["role"] == "assistant" else given)
    prompt = clean(given).removeprefix("Human:").removesuffix(REPLY).strip() if isinstance(given, str) else ""
    if not prompt:
        raise ValueError(f"expected a prompt, messages, a transcript, or answers alike up to the last {REPLY!r}")
    return prompt


def transcript(messages: list) -> str:
    """Messages as hh-rlhf writes them. ValueError for what is none."""
    for m in messages or [None]:
        if not isinstance(m, dict) or str(m.get("role")) not in SPEAKERS or not isinstance(m.get("content"), str):
            raise ValueError(f"expected messages with a content and the role user or assistant, not {m!r:.60}")
    return "".join(f"\n\n{SPEAKERS[m['role']]}: {m['content']}" for m in messages)


def clean(text: str) -> str:
    """Without white space around it; halves of surrogate pairs, which JSON can hold and UTF-8 cannot, as U+FFFD."""
    return text.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
