"""Fixtures. Each dimension has its own size, norms are not 1, logits not near uniform: that is where faults hide."""
from dataclasses import replace

import hypothesis
import pytest
import torch
from fakes import STAGES, contents, main

from minicai.model import LanguageModel, ModelConfig, ScalarModel
from minicai.tokens import Tokenizer
from minicai.toyworld.bpe import train_bpe

hypothesis.settings.register_profile("laws", database=None, deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("laws")
TEXT = "the cat sat on the mat. the mat sat under the cat! a banana, 42 bananas; two Ünïcødé bananas ...\n" * 3


def pytest_collection_modifyitems(config, items):
    left_out = {name: name not in config.getoption("-m") for name in ("slow", "browser")}
    left_out["cuda"] = not torch.cuda.is_available()
    for item in items:
        for name in (name for name in left_out if left_out[name] and item.get_closest_marker(name)):
            item.add_marker(pytest.mark.skip(reason=f"{name}: see the markers in pyproject.toml"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=8,
                       num_key_value_heads=2, head_dim=6, dtype="float32")


@pytest.fixture
def tiny(config):
    """-> a factory of tiny models: `tiny(qk_norm=False)`."""
    def build(**changes) -> LanguageModel:
        model = LanguageModel(replace(config, **changes)).eval()
        for parameter in model.parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, 1.0, 0.5)
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.3)
        return model
    return build


@pytest.fixture
def model(tiny) -> LanguageModel:
    return tiny()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_bpe(TEXT, 280))


@pytest.fixture
def speaker(tiny, tokenizer) -> LanguageModel:
    return tiny(vocab_size=tokenizer.vocab_size)


@pytest.fixture
def judge(speaker) -> ScalarModel:
    scalar = ScalarModel(speaker.model)
    torch.nn.init.normal_(scalar.score.weight)
    return scalar


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A whole chain, with the contents of all files after each stage."""
    run = tmp_path_factory.mktemp("runs") / "first"
    return run, [main(stage, run) or contents(run) for stage in STAGES]
