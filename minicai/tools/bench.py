"""How fast it is here, beside what this machine allows: training, prefill, decoding, an iteration of PPO."""
import json
import time
from copy import deepcopy
from functools import partial
from pathlib import Path
from random import Random
from statistics import quantiles

import torch
from torch import nn
from tqdm import tqdm

import train_ppo
from minicai import finetune, model, optimise, ppo, rollout, run, sample, shape, tensors
from minicai.tools import HELP, command_line
from minicai.tools.lab import pictures

SHAPES = {name: shape.ModelConfig(**sizes) for name, sizes in HELP["bench"]["shapes"].items()}
COLUMNS = "shape work rows length ms spread tokens/s allowed GiB".split()


def main(argv: list[str]) -> None:
    args = command_line(__name__).parse_args(argv)
    device, drawn = run.device_of(args.device), pictures.canvas(1, 3, 18, 6) if args.picture else None
    if args.compile:
        run.compile_trunks(device)
    bandwidth, rate, machine = ceilings(device, args.repeats)
    plan = [(name, rows, length) for name in (SHAPES if args.shape == "all" else [args.shape])
            for rows in sorted({1, -(-args.rows // 8), args.rows}) for length in (args.length // 4, args.length)]
    print(f"{machine}\n" + "".join(f"{name:>13}" for name in COLUMNS))
    found = []
    for name, rows, length in tqdm(plan, desc="bench", leave=False, disable=None):
        network = model.LanguageModel(SHAPES[name]).to(device)
        for work, ids, tokens, operations, moved, *jobs in works(network, rows, length):
            ms, spread, gib = timed(args.repeats, *jobs)
            allowed = 1e3 * max(operations / rate, moved / bandwidth) / ms
            found.append((name, work, len(ids), length, ms, spread, 1e3 * tokens / ms, allowed or None, gib))
            tqdm.write("".join(f"{x:13.4g}" if isinstance(x, float) else f"{x or '-':>13}" for x in found[-1]))
    if args.out:
        results = [dict(zip(COLUMNS, row, strict=True)) for row in found]
        args.out.write_text(json.dumps({"machine": machine, "compiled": args.compile, "results": results}) + "\n")
    if args.picture:
        draw(*drawn, found, args.picture)


def ceilings(device: torch.device, repeats: int) -> tuple[float, float, str]:
    """Bytes a second read and written by a copy, operations a second of a matrix product, and this in words."""
    gpu, dtype = device.type == "cuda", shape.compute_dtype(SHAPES["toy"], device)
    flat, n = torch.ones(2, 2**28 if gpu else 2**23, device=device), 8192 if gpu else 1024
    square = torch.ones(n, n, device=device, dtype=dtype)
    bandwidth = 8e3 * flat.shape[1] / timed(repeats, lambda: flat[0].copy_(flat[1]))[0]
    rate, name = 2e3 * n**3 / timed(repeats, lambda: square @ square)[0], f"{torch.get_num_threads()} threads"
    return bandwidth, rate, (f"{torch.cuda.get_device_name() if gpu else name}, torch {torch.__version__}: copies "
                             f"{bandwidth / 1e9:,.0f} GB/s, multiplies {dtype} at {rate / 1e12:,.3f} TFLOP/s")


def clock(work) -> float:
    """Milliseconds of work(); a GPU's by its own events, so that all it was given to do is done."""
    if not torch.cuda.is_available():
        begin = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - begin)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work()
    last.record()
    last.synchronize()
    return first.elapsed_time(last)


def timed(repeats: int, job, less=lambda: None) -> tuple[float, float, float]:
    """Milliseconds of job() without those of less(), half the distance of their quartiles, a GPU's peak memory."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        low, ms, high = quantiles([clock(job) - clock(less) for _ in range(repeats + 1)][1:])
    except torch.OutOfMemoryError:
        low = ms = high = float("nan")
    return ms, (high - low) / 2, torch.cuda.max_memory_allocated() / 2**30


def works(network: model.LanguageModel, rows: int, length: int):
    """-> (work, ids, tokens, operations, bytes moved at least, what to time, what to take off) of one size."""
    c, cut, twin, device = network.config, length // 4, sample.lowered(network), network.lm_head.weight.device
    ids = torch.randint(c.vocab_size, (rows, length), device=device)
    few, reference = ids[:-(-rows // 4)], deepcopy(network).requires_grad_(False)
    critic, judge = model.ScalarModel(network.model).to(device), model.ScalarModel(reference.model).to(device)
    head, size, half = c.vocab_size * c.hidden_size, twin.lm_head.weight.itemsize, -(-len(few) // 2)
    trunk = sum(linear.weight.numel() for linear in twin.model.modules() if isinstance(linear, nn.Linear))
    mixing = c.num_hidden_layers * c.num_attention_heads * c.head_dim * length            # causal: half of 4 LHDT
    adam, start = optimise.adamw([{"params": list(network.parameters())}], 0.0), ids.new_full((len(few),), cut)

    def reply(some, new: int) -> None:
        sample.generate(network, some[:, :cut].tolist(), max_new=new, stops=set(), generator=torch.Generator(device),
                        batch=rows)

    @torch.no_grad()
    def score() -> ppo.Old:
        mask = tensors.action_mask(few, start, start + length)
        now, ref = (rollout.look(m, critic, few, mask, 1.0) for m in (network, reference))
        return ppo.Old(few, mask, now.logp, ref.logp, now.value, judge.read(judge.model(few)[:, -1]), start,
                       now.logp, now.value)

    yield ("training", few, few.numel(), few.numel() * 6 * (trunk + head + mixing), 0, lambda: optimise.update(
        finetune.sequence_loss(network, few, torch.ones(few.shape, device=device)), [adam]))
    yield ("prefill", ids, ids.numel(), 2 * ids.numel() * (trunk + mixing) + 2 * rows * head, size * (trunk + head),
           torch.no_grad()(lambda: twin.logits(twin.model(ids, model.Cache(c, rows, length, device))[:, -1])))
    steps = length - cut - 2                        # of decoding, five eighths of the length in sight on average
    yield ("decoding", ids, rows * steps, 2 * rows * steps * (trunk + head + 1.25 * mixing),
           steps * size * (trunk + head + 1.25 * rows * mixing * c.num_key_value_heads / c.num_attention_heads),
           partial(reply, ids, steps + 2), partial(reply, ids, 2))
    yield "rollout", few, few.numel(), 0, 0, partial(reply, few, length - cut)
    yield "scoring", few, few.numel(), 0, 0, score
    yield "update", few, few.numel(), 0, 0, lambda: train_ppo.learn(
        network, critic, adam, score(), ppo.ppo_loss, train_ppo.Config(minibatch=half), 1.0, Random(0)), score


def draw(figure, axes, found: list[tuple], path: Path) -> None:
    """Tokens a second against rows, a panel for each work, a line for each shape and length."""
    for axis, work in zip(axes[0], ("training", "prefill", "decoding"), strict=True):
        some = [row for row in found if row[1] == work]
        pictures.lines(axis, work, "rows", {f"{name}, {length} tokens": [
            (row[2], row[6]) for row in some if (row[0], row[3]) == (name, length)]
            for name, length in dict.fromkeys((row[0], row[3]) for row in some)}, ylabel="tokens a second")
        axis.set(xscale="log", yscale="log")
    pictures.save(figure, path.with_suffix(".png"))
