"""Look at the embedded world: what it holds, and a few documents of each kind of its pretraining text."""
import random
from statistics import mean

from minicai.tools import at_least, command_line, table
from minicai.toyworld.corpus import SHARES, Corpus
from minicai.toyworld.pretrain import make_tokenizer
from minicai.toyworld.world import World


def main(argv: list[str]) -> None:
    parser = command_line(__name__)
    parser.add_argument("--documents", type=at_least(0), default=2, help="of each kind to print (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args, world = parser.parse_args(argv), World()
    print(table([{kind: {role: len(world.select(kind, role=role)) for role in ("known", "valid", "test")}
                  for kind in ("harm", "benign", "sensitive")}], digits=0))
    corpus = Corpus(world, make_tokenizer(world, seed=0), random.Random(args.seed))
    some = {kind: [getattr(corpus, kind)()[0] for _ in range(300)] for kind in SHARES}
    tokens = {kind: share * mean(map(len, some[kind])) for kind, share in SHARES.items()}
    for kind, share in SHARES.items():
        print(f"\n{kind}: {share:.0%} of documents, {tokens[kind] / sum(tokens.values()):.0%} of tokens")
        for ids in some[kind][:args.documents]:
            text = corpus.tokenizer.bpe.decode([i if i < corpus.tokenizer.pad else ord("\n") for i in ids])
            print("  " + text.strip().replace("\n", "\n  "))
