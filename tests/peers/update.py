"""Where the time of an update of pretraining goes, on a CPU: shares of the operations, two threads, after a warm-up.

    python tests/peers/update.py                # and how long it takes, without the profiler
    python tests/peers/update.py --compile      # how long it takes compiled"""
import random
import sys
import time

import torch
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from minicai.model import LanguageModel, ModelConfig
from minicai.run import compile_trunks, device_of
from minicai.toyworld.corpus import Corpus
from minicai.toyworld.pretrain import make_tokenizer, pretrain
from minicai.toyworld.world import World

KINDS = {"matrix products, forward and backward": ("aten::mm",), "matrix products of Muon": ("aten::addmm",),
         "attention": ("scaled_dot",), "copies, other precision": ("aten::copy_", "aten::_to_copy"),
         "element by element": ("aten::mul", "aten::add", "aten::div", "aten::pow", "silu", "aten::neg", "aten::cat"),
         "log-softmax": ("log_softmax",)}


def main() -> None:
    device, compiled = device_of("cpu"), "--compile" in sys.argv[1:]
    if compiled:
        compile_trunks(device)
    torch.manual_seed(0)
    world, tokenizer = World(), make_tokenizer(World(), seed=0)
    model = LanguageModel(ModelConfig(tokenizer.vocab_size))
    steps = pretrain(model, Corpus(world, tokenizer, random.Random(0)), steps=2200, keep=lambda plan, **_: plan)
    for _ in range(50):
        next(steps)
    begin = time.perf_counter()
    for _ in range(60):
        last = next(steps)
    print(f"{(time.perf_counter() - begin) / 60:.3f} s an update, 51 to 110; loss of the last {last['loss']:.4f}")
    if compiled:
        return
    with FlopCounterMode(display=False) as counter:
        for _ in range(8):
            next(steps)
    with profile() as profiler:
        for _ in range(20):
            next(steps)
    rows = {row.key: row.self_cpu_time_total for row in profiler.key_averages()}
    total, found = sum(rows.values()), {}
    for name, spent in rows.items():
        kind = next((kind for kind, marks in KINDS.items() if any(mark in name for mark in marks)), "the rest")
        found[kind] = found.get(kind, 0) + spent
    print(f"{counter.get_total_flops() / 8e9:.1f} GFLOP, {total / 20e3:.0f} ms an update under the profiler")
    for kind, spent in sorted(found.items(), key=lambda row: -row[1]):
        print(f"| {kind} | {spent / total:.0%} |")


if __name__ == "__main__":
    main()
