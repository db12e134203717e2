"""Write a run as one HTML page to read: transcripts, comparisons, rollouts token by token. No server, no network."""
import json
from pathlib import Path

from minicai import UserError, blamed, tools
from minicai.toyworld import gold, world

LIMIT = 1_500_000           # characters of each part: the whole page stays below 5 MB
PARTS, KINDS = tools.HELP["view"]["parts"], {"text": str, "list": list, "integer": int, "number": (int, float)}


def main(argv: list[str]) -> None:
    run, embedded = tools.command_line(__name__).parse_args(argv).run, world.World()
    parts = {name: thin([judged(embedded, record) for record in read(run / name / file, kinds)])
             for name, (file, kinds) in PARTS.items() if (run / name / file).is_file()}
    if not parts:
        raise UserError(f"{run}: holds nothing to view yet; make it with: python train_sl.py --run {run}")
    html = page(run.resolve().name, parts)
    (run / "view.html").write_text(html, encoding="utf-8")
    print(f"wrote {run / 'view.html'} ({len(html) / 1e6:.1f} MB): open it in a browser")


def read(path: Path, kinds: dict[str, str]) -> list[dict]:
    """The records of a JSONL file; UserError where one is not what a stage writes. (splitlines breaks at U+2028.)"""
    records, shape = [], [(name, KINDS[kind]) for kind, names in kinds.items() for name in names.split()]
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        with blamed(f"{path}, line {number}: is not what a stage writes; make the stage anew"):
            records += [json.loads(line, parse_constant=str)] if line else []    # NaN is no JSON for a browser
            if line and not all(isinstance(records[-1][name], kind) for name, kind in shape):
                raise ValueError("something is of another kind")
    return records


def judged(embedded: world.World, record: dict) -> dict:
    """A record, with its category and the verdict on every answer as they come, if its prompt is of that world."""
    if (request := embedded.recognise(record["prompt"])) is None:
        return record
    answers = [record[name] for name in ("response", "a", "b") if name in record] + record.get("revisions", [])
    said = [gold.verdict(embedded, request, answer).replace("_", " ") for answer in answers]
    return record | {"category": request.frame.category, "verdicts": said}


def thin(records: list[dict]) -> dict:
    """Every record, or every second, third ... so that about LIMIT characters are left; and how many there were."""
    step = 1 + sum(len(json.dumps(record)) for record in records) // LIMIT
    return {"records": records[::step], "total": len(records), "step": step}


def page(run: str, parts: dict[str, dict]) -> str:
    """The template with the data in it: ASCII JSON without a `<`, so that nothing can end the script."""
    data = json.dumps({"run": run, "parts": parts}, ensure_ascii=True).replace("<", r"\u003c")
    return Path(__file__).with_name("view.html").read_text(encoding="utf-8").replace("/*data*/", data)
