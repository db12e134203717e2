"""Write a stage's model as a Hugging Face folder, for transformers, vLLM and others."""
from pathlib import Path

from minicai import UserError, hf
from minicai.checkpoint import load_model
from minicai.model import ScalarModel
from minicai.tools import command_line


def main(argv: list[str]) -> None:
    parser = command_line(__name__, "stage", "folder of a stage, RUN/ppo for instance")
    parser.add_argument("out", type=Path, help="folder to write; it must not exist yet")
    args = parser.parse_args(argv)
    try:
        found = load_model(args.stage, ScalarModel)
    except UserError:
        found = load_model(args.stage)              # no reward model: what is wrong is said as of a language model
    hf.save(*found, args.out)
    print(f"wrote {args.out}")
