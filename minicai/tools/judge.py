"""Evaluate without gold: a judge model compares what a run's models say, or is itself put to the test."""
import json
from itertools import combinations

import torch

from minicai import UserError, assistant, checkpoint, data, feedback, hf, run, tools
from minicai.toyworld.reward import reliability


def main(argv: list[str]) -> None:
    parser = tools.command_line(__name__)
    args = parser.parse_args(argv)
    if bool(args.prompts) == bool(args.hhh) or args.prompts and not args.run:
        parser.error("expected the folder of a run and --prompts FILE, or --hhh FILE alone")
    device, rows = run.device_of(args.device), data.comparisons(args.hhh) if args.hhh else data.prompts(args.prompts)
    load = checkpoint.load_model if (args.judge / checkpoint.WEIGHTS).exists() else hf.load
    judge = assistant.Assistant(*load(args.judge, device=device), torch.Generator(device).manual_seed(0), batch=64)
    if args.hhh:
        return print(json.dumps(tested(judge, [(row.prompt, row.a, row.b) for row in rows]), indent=1))
    if len(models := tools.models_of(args.run)) < 2:
        raise UserError(f"{args.run}: holds fewer than two models to compare (base/, sl/, ppo/)")
    answers = {name: tools.speaker(folder, device=device, max_new=args.max_new).reply([[("user", p)] for p in rows])
               for name, folder in models.items()}
    result = {name: contest(judge, rows, answers, asks) for name, asks in tools.HELP["judge"]["questions"].items()}
    (args.run / "judged.json").write_text(json.dumps(result, indent=1) + "\n")
    for question, found in result.items():
        print(f"{question} on {len(rows)} prompts: wins {json.dumps(found['wins'])}")
        print(tools.table([{name: dict(zip(("Elo", "from", "to (95 %)"), row, strict=True))
                            for name, row in found["elo"].items()}], digits=0))
    print(f"wrote {args.run / 'judged.json'}")


def contest(judge, asked: list[str], answers: dict[str, list[str]], principle: str, resamples: int = 100) -> dict:
    """Each pair of models on each prompt -> mean p of winning, and Elo with the middle 95 % over resampled prompts."""
    wins, won = torch.full((len(asked), len(answers), len(answers)), 0.5), {}
    for (i, a), (j, b) in combinations(enumerate(answers), 2):
        pairs = list(zip(asked, answers[a], answers[b], strict=True))
        wins[:, i, j] = feedback.label(*feedback.ask(pairs, [principle] * len(pairs), judge, False)[0])
        wins[:, j, i] = 1 - wins[:, i, j]
        won[f"{a} over {b}"] = round(wins[:, i, j].mean().item(), 3)
    drawn = torch.randint(len(asked), (resamples, len(asked)), generator=torch.Generator().manual_seed(0))
    low, high = elo(wins[drawn].sum(1)).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0).tolist()
    return {"wins": won, "elo": dict(zip(answers, zip(elo(wins.sum(0)).tolist(), low, high, strict=True), strict=True))}


def tested(judge, rows: list[tuple[str, str, str]]) -> dict:
    """Rows of (prompt, the better answer, a worse one) -> accuracy and calibration."""
    right = feedback.label(*feedback.ask(rows, [tools.HELP["judge"]["of_both"]] * len(rows), judge, False)[0])
    first = torch.arange(len(rows)) % 2 == 0                     # the better one is as often first as second
    return {"questions": len(rows), "accuracy": ((right > 0.5) + 0.5 * (right == 0.5)).mean(dtype=torch.float).item(),
            "calibration": reliability(torch.where(first, right, 1 - right), first)}


def elo(wins: torch.Tensor) -> torch.Tensor:
    """Elo (..., M), mean 0, from wins (..., M, M), row over column, ties half to each; 400: 10 to 1 (Hunter 2004)."""
    wins = (wins.double() + 0.5) * (1 - torch.eye(wins.shape[-1]))   # any two drew once more: none is infinitely good
    strength = torch.ones_like(wins[..., 0])
    for _ in range(2000):          # to the likeliest Bradley-Terry strengths: Hunter, doi 10.1214/aos/1079120141
        strength = wins.sum(-1) / ((wins + wins.mT) / (strength[..., None] + strength[..., None, :])).sum(-1)
        strength /= strength.log().mean(-1, keepdim=True).exp()
    return 400 * strength.log10()
