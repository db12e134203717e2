"""A stage can be stopped anywhere: what it has done is on the disk, and --resume goes on from there, bit for bit.

A resumed stage runs anew, the same by its seed: what was said is read back, steps in its checkpoint are passed over."""
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch

from minicai import UserError, blamed, checkpoint

STATE, SAID, COST = "state.pt", "said.jsonl", 0.02         # COST: the most that checkpoints may take of the time
STOP: list[int] = []                               # the signals that have asked to stop
READ = "state_dict", "getstate", "get_state", "copy"               # of models and optimisers, generators, dicts
WRITE = "load_state_dict", "setstate", "set_state", "update"


class Keeper:
    """RUN/.STAGE.state: what models said so far, the newest checkpoint. `work`: the stage's folder in the making."""
    def __init__(self, folder: Path, work: Path, settings: dict, every: float):
        self.folder, self.work, self.settings, self.every = folder, work, settings, every
        self.asked, self.step, self.batch, self.due = 0, 0, None, time.perf_counter() + every
        first, *self.said = recovered(folder / SAID) or [settings]
        if other := [f"{name} was {x!r}, now {now!r}" for name, x in first.items() if (now := settings.get(name)) != x]:
            raise UserError(f"{folder}: was stopped with other settings: {'; '.join(other)}")

    def append(self, *records: dict) -> None:
        """Add to what was said, and see that it is on the disk; the first of all records are the settings."""
        self.folder.mkdir(exist_ok=True)
        with blamed(f"{self.folder}: cannot be written, is the disk full?"), open(self.folder / SAID, "a") as file:
            for record in [self.settings] * (file.tell() == 0) + [*records]:
                file.write(json.dumps({"sha256": checkpoint.sha256(json.dumps(record).encode())} | record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def steps(self, plan: Iterable, **changed) -> Iterator:
        """The items of a training loop's plan, but those that are done; `changed` is all that the loop changes."""
        changed |= {f"torch{i}": g for i, g in enumerate([torch.default_generator, *torch.cuda.default_generators])}
        done = self.restore(changed)
        for self.step, self.batch in enumerate(plan, start=1):
            if self.step > done:
                yield self.batch
                if STOP or time.perf_counter() >= self.due:
                    self.checkpoint(changed)

    def checkpoint(self, changed: dict) -> None:
        """Write a new one, then remove those before; the next is due when it costs little."""
        start, place = time.perf_counter(), self.folder / f"step{self.step:08}"
        self.append()
        with blamed(f"{place}: cannot be written, is the disk full?"), checkpoint.whole_folder(place) as folder:
            shutil.copytree(self.work, folder, dirs_exist_ok=True)
            torch.save({name: method(x, READ)() for name, x in changed.items()}, folder / STATE)
        for older in sorted(self.folder.glob("step*"))[:-1]:
            shutil.rmtree(older)
        self.due = (now := time.perf_counter()) + max(self.every, (now - start) / COST) * (self.every > 0)
        leave_if_asked()

    def restore(self, changed: dict) -> int:
        """Put everything back as the newest checkpoint has it; the number of steps that are done."""
        if not (newest := max(self.folder.glob("step*"), default=None)):
            return 0
        checkpoint.verify(newest)
        with blamed(newest / STATE):
            for name, state in torch.load(newest / STATE, map_location="cpu", weights_only=True).items():
                method(changed[name], WRITE)(state)
        shutil.copytree(newest, self.work, dirs_exist_ok=True, ignore=lambda *_: [STATE, checkpoint.MANIFEST])
        return int(newest.name[4:])

    def once(self, generator: torch.Generator, ask: Callable, *asked, **how) -> list:
        """What ask(*asked) gives; in a resumed stage what it gave then, with the generator as it was then."""
        self.asked += 1
        if self.asked > len(self.said):
            said = ask(*asked, **how)
            self.said.append({"said": said, "generator": generator.get_state().numpy().tobytes().hex()})
            self.append(self.said[-1])
            leave_if_asked()
        record = self.said[self.asked - 1]
        generator.set_state(torch.frombuffer(bytearray.fromhex(record["generator"]), dtype=torch.uint8))
        return record["said"]

    def recorded(self, assistant):
        """An assistant that is asked only once: `reply` sixteen batches at a time, and `logp`."""
        generator, many = assistant.generator, 16 * assistant.batch

        def reply(conversations: list, *temperature: float, **how: float) -> list[str]:
            parts = [conversations[i:i + many] for i in range(0, len(conversations), many)]
            return [text for part in parts for text in self.once(generator, assistant.reply, part, *temperature, **how)]
        return SimpleNamespace(reply=reply, logp=lambda *asked: torch.tensor(
            self.once(generator, lambda: assistant.logp(*asked).tolist())))


def recovered(path: Path) -> list[dict]:
    """The whole records of a file; what was being written when the power went is cut off. UserError: damaged since."""
    raw, records = path.read_bytes() if path.exists() else b"", []
    if (whole := raw.rfind(b"\n") + 1) < len(raw):
        os.truncate(path, whole)
    for number, line in enumerate(raw[:whole].splitlines(), start=1):
        with blamed(f"{path}, line {number}: is damaged; add --overwrite to make the stage anew"):
            record = json.loads(line)
            if record.pop("sha256") != checkpoint.sha256(json.dumps(record).encode()):
                raise ValueError("its sha256 says so")
            records.append(record)
    return records


def method(thing, names: tuple[str, ...]) -> Callable:
    """The first of these methods that a thing has."""
    return next(getattr(thing, name) for name in names if hasattr(thing, name))


def ask_to_stop(number: int, _frame) -> None:
    """A first signal lets the step be finished and saved, the exit code is 128 + its number; a second one does not."""
    if STOP:
        os._exit(128 + number)
    STOP.append(number)
    os.write(2, b"\nwill stop when this step is done and saved; once more: at once\n")


def leave_if_asked() -> None:
    """When all is saved: leave, if a signal has asked for it."""
    if STOP:
        print(f"stopped, and saved; go on with: python {shlex.join(sys.argv)} --resume", flush=True)
        raise SystemExit(128 + STOP[0])
