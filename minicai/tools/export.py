"""Write a stage's model as a Hugging Face folder, for transformers, vLLM and others.

    minicai export runs/default/ppo exported     # a language model; runs/default/rm: a classifier with one label
"""
import argparse
from pathlib import Path

from minicai import UserError, hf
from minicai.checkpoint import load_model
from minicai.model import ScalarModel


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="minicai export", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", type=Path, help="folder of a stage, RUN/ppo for instance")
    parser.add_argument("out", type=Path, help="folder to write; it must not exist yet")
    args = parser.parse_args(argv)
    hf.save(*load_any(args.stage), args.out)
    print(f"wrote {args.out}")


def load_any(stage: Path):
    """The stage's language model, or its reward model, and its tokenizer."""
    try:
        return load_model(stage)
    except UserError as error:
        try:
            return load_model(stage, ScalarModel)
        except UserError:
            raise error from None
