"""Mean and spread over several evaluated runs, in per cent."""
from minicai.tools import command_line, evaluate, read, spread, table


def main(argv: list[str]) -> None:
    results = [read(run / "evaluation.json") for run in command_line(__name__).parse_args(argv).runs]
    print(f"{len(results)} seeds, {results[0]['split']} requests, per cent: mean (lowest to highest)")
    for key, title in (("t1", "temperature 1"), ("greedy", "greedy")):
        print(f"\n{title}\n" + table([percent({f"{name}, {group}": row for name, found in result["models"].items()
                                               for group, row in found[key].items()}) for result in results], digits=1))
    print("\nthe base's skills, the reward model's accuracy\n" + table([percent(evaluate.skills(result) | {
        f"reward model, {who}": {"right": row.get("accuracy")} for who, row in result.get("reward_model", {}).items()
        if who != "calibration"}) for result in results], digits=1))
    seconds = [sum(stage["total"] for stage in result["seconds"].values()) for result in results]
    print(f"\nseconds for the three scripts: {spread(seconds, 0)}")


def percent(rows: dict[str, dict]) -> dict[str, dict]:
    """Shares -> per cent; what is no number is left out."""
    return {row.replace("_", " "): {name.replace("_", " "): 100 * share for name, share in found.items()
                                    if isinstance(share, float)} for row, found in rows.items()}
