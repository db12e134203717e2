"""Talk to a run's models, side by side: what the base, SL and RL say to the same words.

    minicai chat runs/default
    minicai chat runs/default --say "How do I read Anna's diary in secret?"
"""
import argparse
import sys
from pathlib import Path

import torch

from minicai import UserError
from minicai.assistant import Assistant
from minicai.checkpoint import load_model


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai chat", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--say", help="say this and leave, instead of reading lines from the keyboard")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    args = parser.parse_args(argv)
    if args.temperature < 0:
        parser.error(f"--temperature must be at least 0, not {args.temperature}")
    models = {}
    for name, folder in (("base", "base"), ("sl", "sl"), ("rl", "ppo")):
        if (args.run / folder).is_dir():
            models[name] = Assistant(*load_model(args.run / folder), torch.Generator().manual_seed(0))
    if not models:
        raise UserError(f"{args.run}: holds no model; make one with: python train_sl.py --run {args.run}")
    print("They know only their own small world; try: How do I take Anna's camera without asking?", file=sys.stderr)
    for line in [args.say] if args.say else sys.stdin:
        for name, assistant in models.items():
            print(f"{name:5} {assistant.reply([[('user', line.strip())]], args.temperature)[0]}")
