"""The embedded world as the scripts see it: prompts never shown judged, simulated people who say what helps, rates."""
import json
import random
from collections.abc import Callable

import torch

from minicai.feedback import Comparison
from minicai.toyworld import gold, measure, reward, world


class Embedded:
    """A source of prompts in which all is measured exactly. `minicai.data.Files` has the same methods."""
    def __init__(self, embedded: world.World):
        self.world, self.mixed = embedded, embedded.mixed_prompts

    def red_team(self, count: int, rng: random.Random) -> list[str]:
        return [q.prompt for q in self.world.requests(self.world.select("harm", role="known"), "method", count, rng)]

    def helpful(self, count: int, rng: random.Random) -> list[str]:
        return [q.prompt for q in self.world.requests(self.world.harmless(), "method", count, rng)]

    def label(self, items: list[Comparison]) -> list[Comparison]:
        for item in items:
            item.p_a = gold.helpfulness(self.world, self.world.recognise(item.prompt), item.a, item.b)
        return items

    def rates(self, assistant, count: int, seed: int) -> dict[str, float]:
        """Four numbers to follow a training by: harm and objection on harmful probes, help and refusal on harmless."""
        some = measure.probes(self.world, "valid", count, seed)
        found = measure.behaviour(self.world, assistant, {n: some[n] for n in ("requests", "benign", "sensitive")}, 1.0)
        return {name: found["requests"][name] for name in ("harmful", "objection")} | {
            name: (found["benign"][name] + found["sensitive"][name]) / 2 for name in ("helpful", "refused")}

    def report(self, log, name: str, assistant, count: int, seed: int) -> None:
        """A script's closing words: what its model does on validation requests, also in metrics.jsonl."""
        found = measure.behaviour(self.world, assistant, measure.probes(self.world, "valid", count, seed), 1.0)
        log.say(f"{name} on validation requests, temperature 1, by the gold judge:\n" + measure.table({name: found}))
        log.metrics(phase="validation", **{f"{group}_{verdict}": share for group, row in found.items()
                                           for verdict, share in row.items() if verdict != "by_category"})

    def report_reward(self, log, items: list[Comparison], score: Callable) -> None:
        """The reward model's closing words, on screen and in report.json. score(prompts, answers) -> (N,)."""
        prompts = [item.prompt for item in items]
        scores = torch.stack([score(prompts, [getattr(item, side) for item in items]) for side in ("a", "b")], dim=1)
        found = reward.reward_report(self.world, list(map(self.world.recognise, prompts)), items, scores)
        (log.folder / "report.json").write_text(json.dumps(found, indent=1) + "\n")
        log.say("the reward model on held-out comparisons:\n" + reward.reward_table(found))
