"""Look at the embedded world: what it holds, and a few documents of each kind of its pretraining text."""
import random

from minicai.tools import command_line, table
from minicai.toyworld import corpus, pretrain, world


def main(argv: list[str]) -> None:
    args, embedded = command_line(__name__).parse_args(argv), world.World()
    print(table([{kind: {role: len(embedded.select(kind, role=role)) for role in ("known", "valid", "test")}
                  for kind in ("harm", "benign", "sensitive")}], digits=0))
    text = corpus.Corpus(embedded, pretrain.make_tokenizer(embedded, seed=0), random.Random(args.seed))
    some = {kind: [getattr(text, kind)()[0] for _ in range(300)] for kind in corpus.SHARES}
    tokens = {kind: share * sum(map(len, some[kind])) for kind, share in corpus.SHARES.items()}
    for kind, share in corpus.SHARES.items():
        print(f"\n{kind}: {share:.0%} of documents, {tokens[kind] / sum(tokens.values()):.0%} of tokens")
        for ids in some[kind][:args.documents]:
            said = text.tokenizer.bpe.decode([i if i < text.tokenizer.pad else ord("\n") for i in ids])
            print("  " + said.strip().replace("\n", "\n  "))
