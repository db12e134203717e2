"""Write a stage's model as a Hugging Face folder, for transformers, vLLM and others."""
from minicai import UserError, checkpoint, hf, model, tools


def main(argv: list[str]) -> None:
    args = tools.command_line(__name__).parse_args(argv)
    try:
        found = checkpoint.load_model(args.stage, model.ScalarModel)
    except UserError:
        found = checkpoint.load_model(args.stage)   # no reward model: what is wrong is said as of a language model
    hf.save(*found, args.out)
    print(f"wrote {args.out}")
