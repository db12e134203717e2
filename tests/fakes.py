"""Stand-ins: an assistant that says what a script tells it and remembers what it was asked; a tiny real one."""
import sys
from importlib import import_module

import torch

from minicai.assistant import Assistant
from minicai.model import LanguageModel, ModelConfig
from minicai.tokens import Tokenizer

BYTES = {bytes([i]): i for i in range(256)}            # the plainest tokenizer: a byte a token


class Scripted:
    """say(turns) -> words; score(turns, begun, ending) -> log-prob."""

    def __init__(self, say=lambda turns: "", score=lambda turns, begun, ending: -1.0):
        self.say, self.score = say, score
        self.asked, self.temperatures, self.scored = [], [], []

    def reply(self, conversations, temperature=1.0):
        self.asked += conversations
        self.temperatures += [temperature] * len(conversations)
        return [self.say(turns) for turns in conversations]

    def logp(self, conversations, begun, endings):
        rows = list(zip(conversations, begun, endings, strict=True))
        self.scored += rows
        return torch.tensor([float(self.score(*row)) for row in rows])


def tiny_assistant(seed: int = 0, **settings) -> Assistant:
    torch.manual_seed(seed)
    tokenizer = Tokenizer(BYTES)
    shape = ModelConfig(tokenizer.vocab_size, hidden_size=24, intermediate_size=40, num_hidden_layers=2, head_dim=6,
                        num_attention_heads=4, num_key_value_heads=2, dtype="float32")
    model = LanguageModel(shape).eval()
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.3)
    return Assistant(model, tokenizer, torch.Generator().manual_seed(seed), **settings)


def patch(monkeypatch, target: str, replacement) -> None:
    """Replace `module.name` there and wherever it was imported by name."""
    module, name = target.rsplit(".", 1)
    original = getattr(import_module(module), name)
    for known, m in list(sys.modules.items()):
        if known.split(".")[0].startswith(("minicai", "train_", "test_")) and vars(m).get(name) is original:
            monkeypatch.setattr(m, name, replacement)
