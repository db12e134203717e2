"""Fixtures for all tests. Every dimension has its own size, every norm its own weights, every head an opinion:
equal sizes, norms of 1 and near-uniform logits are where faults hide.
"""
import hypothesis
import pytest
import torch

from minicai.model import LanguageModel, ModelConfig
from minicai.tokens import Tokenizer, train_bpe

hypothesis.settings.register_profile("laws", database=None, deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("laws")
SIZES = dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=8,
             num_key_value_heads=2, head_dim=6, dtype="float32")
TEXT = "the cat sat on the mat. the mat sat under the cat! a banana, 42 bananas; two Ünïcødé bananas ...\n" * 3


def pytest_collection_modifyitems(config, items):
    """`cuda` tests are skipped without a device, `slow` ones unless -m speaks of slow."""
    for item in items:
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if item.get_closest_marker("slow") and "slow" not in config.getoption("-m"):
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def build(**changes) -> LanguageModel:
    model = LanguageModel(ModelConfig(**SIZES | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0, 0.5)
        model.model.embed_tokens.weight.normal_(std=0.3)
    return model


@pytest.fixture
def tiny():
    """A factory of tiny models: `tiny(qk_norm=False)`."""
    return build


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig(**SIZES)


@pytest.fixture
def model() -> LanguageModel:
    return build()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_bpe(TEXT, 280))


@pytest.fixture
def speaker(tokenizer) -> LanguageModel:
    """A tiny model over the tiny tokenizer's vocabulary."""
    return build(vocab_size=tokenizer.vocab_size)
