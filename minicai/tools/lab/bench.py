"""What an experiment works with: parts that are done once, copies of a run's stages, the scripts, exact measurement."""
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import mean
from types import ModuleType

import torch
from tqdm import tqdm

import train_rm
from minicai import UserError
from minicai.assistant import Assistant
from minicai.checkpoint import load_model, save_model
from minicai.feedback import Comparison
from minicai.model import ScalarModel
from minicai.preference import normalise, text_scores
from minicai.run import device_of, seeded
from minicai.toyworld import measure
from minicai.toyworld.world import World


class Bench:
    """What an experiment works with: its run and seed, and what is already done of it."""

    def __init__(self, run: Path, folder: Path, seed: int, probes: int, device: str):
        self.run, self.folder, self.seed, self.device, self.world = run, folder, seed, device_of(device), World.of(run)
        self.asked = measure.probes(self.world, "test", probes, seed)
        self.done = self.folder / "results.json"
        self.results: dict[str, dict] = json.loads(self.done.read_text()) if self.done.is_file() else {}

    def parts(self, work: dict[str, Callable[[], dict[str, float]]]) -> dict[str, dict[str, float]]:
        """Do what is not done yet, each part under its key; what has been found is on disk before the next begins."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for key, find in tqdm(work.items(), desc=f"{self.folder.parent.name} seed {self.seed}", disable=None):
            if key not in self.results:
                with open(self.folder.parent / "log.txt", "a", encoding="utf-8") as log, redirect_stdout(log):
                    self.results[key] = find()
                part = self.done.with_suffix(".part")
                part.write_text(json.dumps(self.results, indent=1) + "\n")
                part.replace(self.done)
        return {key: self.results[key] for key in work}

    def take(self, key: str, *stages: str) -> Path:
        """A run of a part's own, with these stages of the lab's run, but for what it has already."""
        for stage in stages:
            if not (self.run / stage).is_dir():
                raise UserError(f"{self.run}: holds no {stage}/; run the scripts up to there first")
            if not (self.folder / key / stage).exists():
                shutil.copytree(self.run / stage, self.folder / key / stage)
        return self.folder / key

    def script(self, script: ModuleType, run: Path, **settings) -> None:
        script.main(script.Config(run=str(run), seed=self.seed, device=self.device.type, overwrite=True, **settings))

    def reward_model(self, key: str, items: list[Comparison]) -> dict:
        """A reward model from comparisons with labels, as train_rm.py makes it, in the part's run -> its report."""
        cfg, run = train_rm.Config(), self.take(key, "base", "sl")
        rng, generator = seeded(self.seed, "rm", self.device)
        writer, tokenizer = load_model(run / "sl", device=self.device)
        model = ScalarModel(load_model(run / "sl", device=self.device)[0].model).to(self.device)
        apart = round(1 / cfg.held_out)
        held, train = items[::apart], [item for i, item in enumerate(items) if i % apart]
        list(train_rm.fit(model, tokenizer, train, cfg, rng, cfg.epochs * -(-len(train) // cfg.batch)))
        prompts, usual = [item.prompt for item in held], self.world.mixed_prompts(256, 0.5, rng)
        sides = [text_scores(model, tokenizer, prompts, [getattr(item, side) for item in held]) for side in "ab"]
        requests = [self.world.recognise(prompt) for prompt in prompts]
        report = measure.reward_report(self.world, requests, held, torch.stack(sides, dim=1))
        answers = Assistant(writer, tokenizer, generator).reply([[("user", prompt)] for prompt in usual])
        normalise(model, text_scores(model, tokenizer, usual, answers))
        (run / "rm").mkdir(exist_ok=True)
        save_model(run / "rm", model, tokenizer, {})
        return report

    def comparisons(self) -> list[Comparison]:
        """Those of the lab's run, labels and log-odds included."""
        path = self.run / "rm" / "comparisons.jsonl"
        if not path.is_file():
            raise UserError(f"{path}: is missing; make it with: python train_rm.py --run {self.run}")
        return [Comparison(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]

    def model(self, folder: Path, temperature: float = 1.0) -> Assistant:
        return Assistant(*load_model(folder, device=self.device), torch.Generator(self.device).manual_seed(self.seed),
                         temperature)

    def constitution(self, key: str, principles: list[str]) -> str:
        path = self.folder / f"{key}.txt"
        path.write_text("\n".join(principles) + "\n", encoding="utf-8")
        return str(path)

    def behaviour(self, folder: Path) -> dict[str, float]:
        """Harm, dodging and right objections on harmful requests, help and refusals on harmless ones, temperature 1."""
        found = measure.behaviour(self.world, self.model(folder), {g: self.asked[g] for g in (
            "requests", "benign", "sensitive")}, 1.0)
        return {name: found["requests"][name] for name in ("harmful", "evasive", "objection")} | {
            "helpful": mean(found[g]["helpful"] for g in ("benign", "sensitive")),
            "refused": mean(found[g]["refused"] for g in ("benign", "sensitive"))}
