"""Stand-ins: an assistant that says what a script tells it and remembers what it was asked; a tiny real one."""
import pkgutil
import sys

import torch

from minicai.assistant import Assistant
from minicai.model import LanguageModel, ModelConfig
from minicai.tokens import Tokenizer

BYTES = {bytes([i]): i for i in range(256)}            # the plainest tokenizer: a byte a token


class Scripted:
    """say(turns) -> words; score(turns, begun, ending) -> log-prob."""
    def __init__(self, say=lambda turns: "", score=None):
        self.say, self.score, self.asked, self.temperatures, self.scored = say, score, [], [], []

    def reply(self, conversations, temperature=1.0):
        self.asked += conversations
        self.temperatures += [temperature] * len(conversations)
        return [self.say(turns) for turns in conversations]

    def logp(self, *lists):
        self.scored += zip(*lists, strict=True)
        return torch.tensor([float(self.score(*row)) for row in zip(*lists, strict=True)])


def tiny_assistant(seed: int = 0, **settings) -> Assistant:
    torch.manual_seed(seed)
    shape = ModelConfig(261, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                        num_key_value_heads=2, head_dim=6, dtype="float32")
    model = LanguageModel(shape).eval()
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.3)
    return Assistant(model, Tokenizer(BYTES), torch.Generator().manual_seed(seed), **settings)


def patch(monkeypatch, target: str, replacement) -> None:
    """Replace minicai.`target` there and wherever it was imported by name."""
    original, name = pkgutil.resolve_name(f"minicai.{target}"), target.rpartition(".")[2]
    monkeypatch.setattr(f"minicai.{target}", replacement)
    for known, module in list(sys.modules.items()):
        if known.startswith(("minicai", "train_", "test_")) and vars(module).get(name) is original:
            monkeypatch.setattr(module, name, replacement)
