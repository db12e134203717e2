"""The world around a script: its flags, its seed and device, the run's folder, the log. No method in here."""
import argparse
import ctypes
import dataclasses
import fcntl
import functools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch.nn import Module
from tqdm import tqdm

from minicai import UserError, blamed, model, number, optimise
from minicai.checkpoint import MANIFEST, append_jsonl, sha256, whole_folder
from minicai.run.resume import SAID, STOP, Keeper, ask_to_stop


def flag(default, help: str, least: float | None = None, most: float = torch.inf, choices: tuple | None = None):
    """A field of a script's Config: its default, what it means, and what is allowed: a range, or these values."""
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "most": most, "choices": choices})


@dataclasses.dataclass(frozen=True, slots=True)
class Common:
    """The flags of every script."""
    run: str = flag("runs/default", "folder of the run: base/, sl/, rm/ and ppo/ are written there")
    seed: int = flag(0, "same seed, same run", least=0)
    device: str = flag("auto", "where to compute", choices=("auto", "cpu", "cuda"))
    compile: bool = flag(False, "compile the transformer, which takes a minute or two: meant for a GPU")
    overwrite: bool = flag(False, "make this stage anew, in place of what is there")
    resume: bool = flag(False, "go on where the same command was stopped")
    save_every: float = flag(60.0, "seconds from one checkpoint to the next; 0: after each step", least=0)
    micro_batch: int = flag(64, "conversations in memory at once: fewer need less, and a third more time", least=1)


def parse_flags(config: type, description: str, argv: list[str] | None = None):
    """A frozen dataclass of `flag` fields from the command line. A bad value or unknown flag: one line, exit code 2."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False, usage="%(prog)s [--flag value ...]",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    fields = {"--" + field.name.replace("_", "-"): field for field in dataclasses.fields(config)}
    for name, f in fields.items():
        if f.type is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=f.default, help=f.metadata["help"])
        else:
            kind = f.type if f.metadata["least"] is None else number(f.type, f.metadata["least"], f.metadata["most"])
            parser.add_argument(name, type=kind, default=f.default, choices=f.metadata["choices"],
                                metavar=f.type.__name__, help=f"{f.metadata['help']} (default: {f.default!r})")
    return config(**vars(parser.parse_args(argv)))


def script(main: Callable, config: type, description: str, argv: list[str] | None = None) -> None:
    """Run a script's main from the command line: a user's mistake is one line and exit code 2; signals stop it."""
    cfg = parse_flags(config, description, argv)
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, ask_to_stop)
    try:
        main(cfg)
    except (UserError, optimise.Diverged, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if STOP:                                        # too late to stop anything, but the shell should know
        raise SystemExit(128 + STOP[0])


def device_of(name: str) -> torch.device:
    """"auto", "cpu" or "cuda" -> the device; auto is CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no CUDA device that torch can use")
    keep_memory()
    return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")


def keep_memory() -> None:
    """What is freed stays with the process: where glibc fetches it anew each step, it costs a twentieth of the time."""
    with suppress(AttributeError):                                           # another libc
        for option, size in ((-3, 2 ** 25), (-1, 2 ** 31 - 1)):              # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            ctypes.CDLL(None).mallopt(option, size)


@functools.cache                                                        # once is enough
def compile_trunks(device: torch.device) -> None:
    """From here on every transformer runs through torch.compile; UserError where that does not work."""
    torch._dynamo.config.recompile_limit = 64       # with and without gradient, cache, growing lengths: many versions
    model.Transformer.run = torch.compile(model.Transformer.run)
    with blamed("--compile: torch.compile does not work here"), device:
        model.Transformer(model.ModelConfig(8, num_hidden_layers=1))(torch.zeros(2, 16, dtype=torch.long))


def fit_memory(log: "Log", learned: list[Module], frozen: list[Module], micro_batch: int, length: int = 512) -> None:
    """Say what training needs, refuse what cannot fit, and set how many rows go through the models at once."""
    for trained in learned:
        trained.model.micro_batch = micro_batch
    shape, device = learned[0].config, next(learned[0].parameters()).device
    need = 16 * sum({p: p.numel() for m in learned for p in m.parameters()}.values())   # itself, gradient, two moments
    need += 4 * sum(p.numel() for m in frozen for p in m.parameters()) + 12 * model.CELLS     # 12: a logit of a slice
    # 68 bytes a token and channel of a layer: Korthikanti et al. 2022, arXiv 2205.05198, eq. 2, at 32 bits
    need += 68 * micro_batch * length * shape.num_hidden_layers * shape.hidden_size
    there = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    text = f"training needs about {need / 1e9:.1f} GB of memory, of {there / 1e9:.0f} GB that the {device.type} has"
    if need > there:
        raise UserError(f"{text}: choose a lower --micro-batch (it is {micro_batch}) or a smaller model")
    log.say(text)


def seeded(seed: int, stage: str, device: torch.device) -> tuple[random.Random, torch.Generator]:
    """A stage's own generators: one of draws, one of samples. What torch initialises itself is seeded too."""
    number = random.Random(f"{seed} {stage}").getrandbits(62)
    torch.manual_seed(number)
    return random.Random(number), torch.Generator(device).manual_seed(number)


class Log:
    """What a stage says: lines on the screen, and `metrics.jsonl`, in which nothing depends on the clock."""
    def __init__(self, folder: Path, stage: str, keep: Keeper):
        self.folder, self.stage, self.keep, self.began, self.seconds = folder, stage, keep, time.perf_counter(), {}

    def say(self, text: str) -> None:
        tqdm.write(f"[{self.stage} {time.perf_counter() - self.began:4.0f}s] {text}", file=sys.stdout)
        sys.stdout.flush()

    def metrics(self, show: bool = False, **stats: float | int | str) -> None:
        """Append a record, floats to six digits; `show` says it on the screen as well."""
        stats = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in stats.items()}
        append_jsonl(self.folder / "metrics.jsonl", [stats])
        if show:
            self.say(" ".join(f"{k} {v:<8.3g}" if isinstance(v, float) else f"{k} {v:<4}" for k, v in stats.items()))

    def follow(self, phase: str, steps: Iterable[dict], total: int, every: int = 1) -> None:
        """Run a training loop that yields its stats: a progress bar, every step to the file, some to the screen."""
        for i, stats in enumerate(tqdm(steps, desc=phase, total=total, leave=False, disable=None)):
            self.metrics(show=i % every == 0 or i == total - 1, phase=phase, **stats)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 1)
        self.say(f"{what}: {self.seconds[what]} s")


def refuse_existing(cfg: Common, name: str) -> None:
    """UserError if the stage is done or begun, and the flags do not say what is to become of that."""
    run = Path(cfg.run)
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file; --run names the folder of a run")
    if (run / name).exists() and not cfg.overwrite:
        raise UserError(f"{run / name} exists already; add --overwrite to make it anew, or choose another --run")
    if (run / f".{name}.state" / SAID).exists() and not cfg.overwrite and not cfg.resume:
        raise UserError(f"{run / name} was stopped half-way; add --resume to go on, or --overwrite to make it anew")


@contextmanager
def stage(cfg: Common, name: str) -> Iterator[Log]:
    """The folder cfg.run/name in the making, with its log. It appears whole when the block ends, or not at all."""
    refuse_existing(cfg, name)
    if cfg.compile:
        compile_trunks(device_of(cfg.device))
    run, state = Path(cfg.run), Path(cfg.run) / f".{name}.state"
    run.mkdir(parents=True, exist_ok=True)
    with open(run / ".lock", "a") as lock:
        with blamed(f"{run}: another process is at work here; wait for it, or choose another --run"):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)                 # ends with the process, however that ends
        if not cfg.resume:
            shutil.rmtree(state, ignore_errors=True)
        with whole_folder(run / name) as folder:
            log = Log(folder, name, Keeper(state, folder, inputs(cfg, name), cfg.save_every))
            try:
                yield log
            except optimise.Diverged as error:
                append_jsonl(batch := run / f"{name}.diverged.jsonl", [log.keep.batch])
                raise optimise.Diverged(f"{name}, step {log.keep.step}: {error}; the batch is in {batch}") from None
            log.seconds["total"] = round(time.perf_counter() - log.began, 1)
            (folder / "seconds.json").write_text(json.dumps(log.seconds) + "\n")
        shutil.rmtree(state, ignore_errors=True)
    print(f"wrote {run / name}")


def inputs(cfg: Common, name: str) -> dict:
    """All that the result of a stage depends on: its settings, the files that they name, the stages before it."""
    own = {f: x for f, x in dataclasses.asdict(cfg).items() if f not in ("run", "overwrite", "resume", "save_every")}
    own |= {"device": device_of(cfg.device).type, "torch": str(torch.__version__)}
    files = [Path(x) for x in own.values() if isinstance(x, str)] + sorted(Path(cfg.run).glob(f"[!.]*/{MANIFEST}"))
    return own | {"/".join(path.parts[-2:]): sha256(path.read_bytes())[:12]
                  for path in files if path.is_file() and path.parent.name != name}
