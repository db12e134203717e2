"""Stand-ins: an assistant that says what a script tells it and remembers what it was asked; a tiny real one."""
import gzip
import json
import pkgutil
import sys
import tomllib
from pathlib import Path

import torch

import train_ppo
import train_rm
import train_sl
from minicai import assistant, checkpoint, model, tokens

close = torch.testing.assert_close
BYTES = {bytes([i]): i for i in range(256)}            # the plainest tokenizer: a byte a token


def table(name: str) -> dict:
    """tests/`name`.toml, as it reads."""
    return tomllib.loads(Path(__file__).with_name(f"{name}.toml").read_text("utf-8"))


ROOT, TINY = Path(__file__).parents[1], table("tiny")
RULE = {"constitution": str(ROOT / "constitution.txt")}
STAGES = {"sl": (train_sl, TINY["sl"] | RULE), "rm": (train_rm, TINY["rm"] | RULE), "ppo": (train_ppo, TINY["ppo"])}


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


def write(folder, files):
    """{name: what it holds}: text, or a list of records, a line of JSON each, zipped if so named; or {"hex": bytes}."""
    for name, said in files.items():
        text = said if isinstance(said, str) else "".join(json.dumps(record) + "\n" for record in said)
        raw = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes.fromhex(said["hex"]) if isinstance(said, dict) else raw)


def tiny(**changes) -> model.LanguageModel:
    """Each dimension has its own size, norms are not 1, logits not near uniform: that is where faults hide."""
    made = model.LanguageModel(model.ModelConfig(**TINY["model"] | changes)).eval()
    for norm in (parameter for parameter in made.parameters() if parameter.ndim == 1):
        torch.nn.init.normal_(norm, 1.0, 0.5)
    torch.nn.init.normal_(made.model.embed_tokens.weight, std=0.3)
    return made


def tiny_assistant(seed: int = 0, **settings) -> assistant.Assistant:
    torch.manual_seed(seed)
    speaker = tiny(vocab_size=261, num_hidden_layers=2, num_attention_heads=4)
    return assistant.Assistant(speaker, tokens.Tokenizer(BYTES), torch.Generator().manual_seed(seed), **settings)


def save(folder, saved, tokenizer=None, training=()):
    """Save a model in a new folder, with the tokenizer of bytes if no other is given."""
    folder.mkdir()
    checkpoint.save_model(folder, saved, tokenizer or tokens.Tokenizer(BYTES), dict(training))


def token_logp(logits, ids, temperature=1.0):
    """The oracle: log-probs of the tokens that came next, (B, T); column t speaks of token t + 1, the last one is 0."""
    logp = (logits.float() / temperature).log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    return torch.cat([logp, torch.zeros(len(ids), 1)], dim=1)


def patch(monkeypatch, target: str, replacement) -> None:
    """Replace minicai.`target` there and wherever it was imported by name."""
    original, name = pkgutil.resolve_name(f"minicai.{target}"), target.rpartition(".")[2]
    monkeypatch.setattr(f"minicai.{target}", replacement)
    for known, module in list(sys.modules.items()):
        if known.startswith(("minicai", "train_", "test_")) and vars(module).get(name) is original:
            monkeypatch.setattr(module, name, replacement)


def main(stage, run, device="cpu", plugs=(), **changes):
    script, settings = STAGES[stage]
    script.main(script.Config(**{"run": str(run), "device": device} | settings | changes), **dict(plugs))


def command(stage, run, *flags):
    """The same as a command, in a process of its own."""
    script, settings = STAGES[stage]
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    return [sys.executable, script.__file__, f"--run={run}", "--device=cpu", *settings, *flags]


def contents(run):
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.*")}
