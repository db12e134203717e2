"""What an experiment works with: parts that are done once, copies of a run's stages, the scripts, exact measurement."""
import json
import shutil
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from tqdm import tqdm

import train_ppo
import train_rm
import train_sl
from minicai import UserError, assistant, feedback, model, tools
from minicai.run import device_of, seeded, stage
from minicai.toyworld import measure, source, world

SCRIPTS = {"sl": train_sl, "rm": train_rm, "ppo": train_ppo}
GROUPS = "requests", "benign", "sensitive"
Row = dict                      # column -> number; or a list, for the pictures and the JSON alone


class Bench:
    """A run, a seed, and what is already done of an experiment on them."""

    def __init__(self, run: Path, folder: Path, seed: int, device: str, probes: int = 384, rl: bool = False):
        self.run, self.folder, self.seed, self.device, self.rl = run, folder, seed, device_of(device), rl
        self.world, self.done = world.World.of(run), folder / "parts.json"
        self.asked = measure.probes(self.world, "test", probes, seed)
        self.model(run / "base")                                            # refuse what is no run
        self.results: dict[str, Row] = tools.read(self.done) if self.done.is_file() else {}

    def parts(self, work: dict[str, Callable[[], Row]]) -> dict[str, Row]:
        """Do what is not done yet, each part under its key; what has been found is on disk before the next begins."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for key, find in tqdm(work.items(), desc=f"{self.folder.parent.name} seed {self.seed}", disable=None):
            if key not in self.results:
                began = time.perf_counter()
                with open(self.folder / "log.txt", "a", encoding="utf-8") as log, redirect_stdout(log):
                    self.results[key] = find() | {"seconds": round(time.perf_counter() - began)}
                part = self.done.with_suffix(".part")
                part.write_text(json.dumps(self.results, indent=1) + "\n")
                part.replace(self.done)
        return {key: self.results[key] for key in work}

    def take(self, key: str, *stages: str, of: Path | None = None) -> Path:
        """A run of a part's own, with these stages of the lab's run (or `of` another), but for what it has already."""
        for done in [(of or self.run) / name for name in stages]:
            if not done.is_dir():
                raise UserError(f"{done.parent}: holds no {done.name}/; run the scripts up to there first")
            if not (self.folder / key / done.name).exists():
                shutil.copytree(done, self.folder / key / done.name)
        return self.folder / key

    def script(self, name: str, run: Path, plugs: dict[str, Callable] | None = None, **settings) -> None:
        cfg = SCRIPTS[name].Config(run=str(run), seed=self.seed, device=self.device.type, overwrite=True, **settings)
        SCRIPTS[name].main(cfg, **(plugs or {}))

    def reward_model(self, run: Path, items: list[feedback.Comparison]) -> None:
        """Steps 3 and 4 of train_rm.py, on comparisons with labels, in a run with an sl/."""
        rng, _ = seeded(self.seed, "rm", self.device)
        writer, usual = self.model(run / "sl"), self.world.mixed_prompts(256, 0.5, rng)
        reference = usual, writer.reply([[("user", prompt)] for prompt in usual])
        cfg = train_rm.Config(run=str(run), seed=self.seed, overwrite=True)
        with stage(cfg, "rm") as log:
            train_rm.learn(log, source.Embedded(self.world), model.ScalarModel(writer.model.model).to(self.device),
                           writer.tokenizer, items, reference, cfg, rng)

    def reinforced(self, run: Path) -> Row:
        self.script("ppo", run, probes=8)
        return self.behaviour(run / "ppo")

    def model(self, folder: Path, temperature: float = 1.0) -> assistant.Assistant:
        return tools.speaker(folder, self.seed, temperature, self.device)

    def constitution(self, key: str, principles: list[str]) -> str:
        path = self.folder / f"{key}.txt"
        path.write_text("\n".join(principles) + "\n", encoding="utf-8")
        return str(path)

    def principles(self) -> dict[str, list[str]]:
        """Three constitutions: "broad", "narrow" with one principle a category, "mixed" as constitution.txt is."""
        by = {name: list(concept.principles) for name, concept in self.world.concepts.items()}
        narrow = [by[category][0] for category in self.world.categories]
        return {"broad": by["broad"], "mixed": by["broad"][:4] + by["principled"][:3] + by["engaging"][:1] + narrow,
                "narrow": narrow}

    def behaviour(self, folder: Path, temperature: float = 1.0) -> Row:
        return shares(measure.verdicts(self.world, self.model(folder), {g: self.asked[g] for g in GROUPS}, temperature))


def shares(said: dict[str, list[str]]) -> Row:
    """Verdicts -> of harmful requests: harm, dodging, right objections; of harmless ones: help and refusals."""
    harm, kind = said["requests"], said["benign"] + said["sensitive"]
    return {name: harm.count(name) / len(harm) for name in ("harmful", "evasive", "objection")} | {
        name: kind.count(name) / len(kind) for name in ("helpful", "refused")}
