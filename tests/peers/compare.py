"""minicai beside its peers, in one run: the same random weights, prompts, lengths and epochs, turn by turn.

    pip install -r tests/peers/requirements.txt && python tests/peers/compare.py --out peers.json
    python tests/peers/compare.py --shape smollm2-135m --bf16          # on a GPU
    python tests/peers/compare.py --works PPO --alone theirs           # and --alone ours: a GPU's peak memory of one

A turn is theirs, then ours; numbers are medians of the turns after the first. Nobody stops early: all rows have the
same length, so that all do the same work.
"""
import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import tokenizers
import torch
import transformers
import trl
from tqdm import tqdm
from works import DIFFERENT, WORKS, twin

from minicai.model import LanguageModel
from minicai.run import compile_trunks, device_of
from minicai.tools.bench import SHAPES


class Turns(transformers.TrainerCallback):
    """After each of a trainer's steps: notes its time, then lets ours do the same work, and notes those times."""
    def __init__(self, ours: dict, total: int, title: str):
        self.ours, self.times = ours, {name: [] for name in ("theirs", *ours)}
        self.bar = tqdm(total=total, desc=title, leave=False, disable=None)

    def clock(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_begin(self, *args, **kwargs) -> None:
        self.begin = self.clock()

    def on_step_end(self, *args, **kwargs) -> None:
        self.times["theirs"].append(self.clock() - self.begin)
        for name, work in self.ours.items():
            begin = self.clock()
            work()
            self.times[name].append(self.clock() - begin)
        self.bar.update()
        self.begin = self.clock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--shape", choices=SHAPES, default="toy", help="the toy has 1,024 tokens here")
    for name, default, what in (("rows", 128, "of a batch"), ("prompt", 16, "tokens"), ("turns", 5, "that count"),
                                ("new", 48, "tokens of a response")):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--bf16", action="store_true", help="bf16 for the peers too; else they compute in fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile, ours and transformers' generate")
    parser.add_argument("--alone", default="", help='only "theirs", or only ours of this name')
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--out", type=Path, help="all of it as JSON")
    args = parser.parse_args()
    args.device = device_of(args.device)
    if args.compile:
        compile_trunks(args.device)
    found = measure(args)
    print(f"\n{'':38}{'seconds':>8}   {'theirs / ours':>13}   each turn")
    for work, times in found["seconds"].items():
        for name, seconds in times.items():
            ratio = median(t / o for t, o in zip(times.get("theirs", seconds), seconds, strict=True))
            print(f"{work:10}{name:28}{median(seconds):8.3f}   {ratio:13.2f}   {' '.join(f'{s:.3g}' for s in seconds)}")
        print(f"  {found['peak_gib'][work]:.2f} GiB at most. {DIFFERENT[work]}\n")
    print(json.dumps(found["versions"]))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


def measure(args) -> dict:
    """The turns of each work."""
    torch.manual_seed(0)
    shape = replace(SHAPES[args.shape], vocab_size=1024) if args.shape == "toy" else SHAPES[args.shape]
    model, vocab = LanguageModel(shape).to(args.device), {str(i): i for i in range(shape.vocab_size)}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="0")), pad_token="0",
        eos_token="1", padding_side="left")
    with torch.no_grad():                                     # the same weights say the same
        ids, plain = torch.arange(12, device=args.device).view(2, 6), LanguageModel(replace(shape, dtype="float32"))
        plain.load_state_dict(model.state_dict())
        torch.testing.assert_close(twin(model)(ids).logits, plain.to(args.device)(ids), atol=1e-3, rtol=1e-3)
    found = {name: getattr(args, name) for name in ("shape", "rows", "prompt", "new", "bf16", "compile", "alone")} | {
        "device": torch.cuda.get_device_name() if args.device.type == "cuda" else f"{torch.get_num_threads()} threads",
        "versions": {module.__name__: str(module.__version__) for module in (torch, transformers, trl)},
        "different": DIFFERENT, "seconds": {}, "peak_gib": {}}
    for work in args.works:
        turns = args.turns + 1
        theirs, ours = WORKS[work](args, model, tokenizer, turns)
        watch = Turns({name: build() for name, build in ours.items() if args.alone in ("", name)}, turns, work)
        if args.alone in ("", "theirs"):
            theirs(watch)
        else:
            for _ in range(turns):
                watch.on_train_begin()
                watch.on_step_end()
            del watch.times["theirs"]
        found["seconds"][work] = {name: seconds[1:] for name, seconds in watch.times.items()}
        found["peak_gib"][work] = torch.cuda.max_memory_allocated() / 2**30
    return found


if __name__ == "__main__":
    main()
