"""How fast it is here, beside what this machine allows: training, prefill, decoding, an iteration of PPO."""
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from functools import partial
from itertools import product
from statistics import quantiles

import torch
from torch.utils.benchmark import timer as clock  # waits until a GPU has done what it was given to do
from tqdm import tqdm

import train_ppo
from minicai import finetune, model, optimise, ppo, rollout, run, sample, shape, tensors, tools
from minicai.tools.lab import pictures

SHAPES = {name: shape.ModelConfig(**sizes) for name, sizes in tools.HELP["bench"]["shapes"].items()}


def main(argv: list[str]) -> None:
    args, found = tools.command_line(__name__).parse_args(argv), []
    device, (figure, axes) = run.device_of(args.device), pictures.canvas(1, 3, 18, 6) if args.picture else (None, None)
    if args.compile:
        run.compile_trunks(device)
    bandwidth, rate, machine = ceilings(device, args.repeats)
    sizes = product(SHAPES if args.shape == "all" else [args.shape], sorted({1, -(-args.rows // 8), args.rows}),
                    (args.length // 4, args.length))
    with suppress(KeyboardInterrupt):                       # what has been measured by then is not lost
        for name, rows, length in tqdm([*sizes], desc="bench", leave=False, disable=None):
            network = model.LanguageModel(SHAPES[name]).to(device)
            for work, tokens, operations, moved, job, *less in works(network, rows, length):
                ms, spread, gib = timed(args.repeats, job, *less)
                allowed = 1e3 * max(operations / rate, moved / bandwidth) / ms if operations else None
                found.append({"work": work, "shape": name, "rows": rows, "length": length, "ms": ms, "+-": spread,
                              "tokens/s": 1e3 * tokens / ms, "allowed": allowed, "GiB": gib})
    said = {"{work}, {shape}, {rows} x {length}".format(**row): dict([*row.items()][4:]) for row in found}
    print(f"{machine}\n{tools.table([said])}")
    if args.out:
        args.out.write_text(json.dumps({"machine": machine, "compiled": args.compile, "found": found}, indent=1) + "\n")
    if args.picture:
        for axis, work in zip(axes[0], ("training", "prefill", "decoding"), strict=True):
            series = {}
            for row in (row for row in found if row["work"] == work):
                series.setdefault("{shape}, {length} tokens".format(**row), []).append((row["rows"], row["tokens/s"]))
            pictures.lines(axis, f"{work}, tokens a second", "rows", series, xscale="log", yscale="log")
        pictures.save(figure, args.picture)


def ceilings(device: torch.device, repeats: int) -> tuple[float, float, str]:
    """Bytes a second read and written by a copy, operations a second of a matrix product, and this in words."""
    gpu, dtype = device.type == "cuda", shape.compute_dtype(SHAPES["toy"], device)
    flat, n = torch.ones(2, 2**28 if gpu else 2**23, device=device), 8192 if gpu else 1024
    square = torch.ones(n, n, device=device, dtype=dtype)
    bandwidth = 8e3 * flat.shape[1] / timed(repeats, lambda: flat[0].copy_(flat[1]))[0]
    rate, name = 2e3 * n**3 / timed(repeats, lambda: square @ square)[0], f"{torch.get_num_threads()} threads"
    return bandwidth, rate, (f"{torch.cuda.get_device_name() if gpu else name}, torch {torch.__version__}: copies "
                             f"{bandwidth / 1e9:,.0f} GB/s, multiplies {dtype} at {rate / 1e12:,.3f} TFLOP/s")


def timed(repeats: int, job: Callable, less: Callable = lambda: None) -> tuple[float, float, float]:
    """Milliseconds of job() without those of less(): median, half the distance of the quartiles; a GPU's peak GiB."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(torch.OutOfMemoryError):                  # then it is not a number
        times = []
        for _ in range(repeats + 1):
            begin, _, middle, _, end = clock(), job(), clock(), less(), clock()
            times.append(1e3 * (2 * middle - begin - end))
        low, ms, high = quantiles(times[1:])                # the first was to warm up
        return ms, (high - low) / 2, torch.cuda.max_memory_allocated() / 2**30
    return (float("nan"),) * 3


def works(network: model.LanguageModel, rows: int, length: int) -> Iterator[tuple]:
    """-> (work, tokens, operations, bytes moved at least, what to time, perhaps what to take off) of one size."""
    c, cut, tokens, device = network.config, length // 4, rows * length, network.lm_head.weight.device
    ids, start = torch.randint(c.vocab_size, (rows, length), device=device), torch.full((rows,), cut, device=device)
    reference, judge = (deepcopy(network).requires_grad_(False) for _ in "rj")
    critic, judge = model.ScalarModel(network.model).to(device), model.ScalarModel(judge.model).to(device)
    network.model.micro_batch = rows                                                       # nothing is computed twice
    adam, size = optimise.adamw([{"params": list(network.parameters())}], 0.0), shape.compute_dtype(c, device).itemsize
    cfg, head, steps = train_ppo.Config(minibatch=-(-rows // 2)), c.vocab_size * c.hidden_size, length - cut - 1
    trunk = sum(weight.numel() for weight in network.model.layers.parameters() if weight.ndim == 2)
    mixing = c.num_hidden_layers * c.num_attention_heads * c.head_dim * length            # causal: half of 4 LHDT

    def reply(asked: int, new: int) -> None:
        sample.generate(network, ids[:, :asked].tolist(), max_new=new, stops=set(), batch=rows,
                        generator=torch.Generator(device))

    @torch.no_grad()
    def score() -> ppo.Old:
        mask = tensors.action_mask(ids, start, start + length)
        now, ref = rollout.look(network, critic, ids, mask, 1.0), rollout.look(reference, None, ids, mask, 1.0)
        given = judge.read(judge.model(ids)[:, -1])
        return ppo.Old(ids, mask, now.logp, ref.logp, now.value, given, start, now.logp, now.value)

    yield ("training", tokens, 6 * tokens * (trunk + head + mixing), 0, lambda: optimise.update(
        finetune.sequence_loss(network, ids, torch.ones(ids.shape, device=device)), [adam]))
    yield ("prefill", tokens, 2 * tokens * (trunk + mixing) + 2 * rows * head, size * (trunk + head),
           partial(reply, length, 1))
    yield ("decoding", rows * steps, 2 * rows * steps * (trunk + head + 1.25 * mixing),        # 5/8 of length in sight
           steps * size * (trunk + head + 1.25 * rows * mixing * c.num_key_value_heads / c.num_attention_heads),
           partial(reply, cut, steps + 1), partial(reply, cut, 1))
    yield "PPO: rollout", tokens, 0, 0, partial(reply, cut, length - cut)
    yield "PPO: scoring", tokens, 0, 0, score
    yield "PPO: update", tokens, 0, 0, lambda: train_ppo.learn(
        network, critic, adam, score(), ppo.ppo_loss, cfg, 1.0, random.Random(0)), score
