"""Laws of the transformer: it equals its formulas written out, sees no future, and forgets nothing in its cache."""
import math

import pytest
import torch
import torch.nn.functional as F

import minicai.model as models
from minicai.tensors import entropy, token_logp

close = torch.testing.assert_close
GATES = ("gate", "up", "down")
SWITCHES = [{}, {"tie_word_embeddings": False}, {"qk_norm": False}, {"qk_norm": False, "attention_bias": True}]
NOT_THEIRS = {"qk_norm", "attention_bias", "dtype"}                                      # their classes imply these
IDS = torch.tensor([[7, 3, 60, 3, 22, 0, 41, 7], [5, 5, 9, 1, 2, 33, 4, 58]])


def norm(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def turned(x, theta):
    """RoPE as it is defined: x_i + i x_{i + D/2} is a complex number, turned by position * theta^(-2i/D). x (T, D)."""
    (T, D), (a, b) = x.shape, x.double().chunk(2, dim=-1)
    angle = torch.outer(torch.arange(T).double(), theta ** (-torch.arange(0, D, 2).double() / D))
    z = torch.complex(a, b) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], dim=-1).float()


def attention(x, w, c):
    """x (T, C): softmax(q k / sqrt(D)) v head by head, position by position, each sees itself and those before."""
    q, k, v = (F.linear(x, w[f"{n}_proj.weight"], w.get(f"{n}_proj.bias")).split(c.head_dim, dim=-1) for n in "qkv")
    if c.qk_norm:
        q, k = ([norm(t, w[f"{n}_norm.weight"], c.rms_norm_eps) for t in heads] for n, heads in (("q", q), ("k", k)))
    y, group = torch.zeros(len(x), len(q), c.head_dim), len(q) // len(k)                   # `group` heads share k and v
    for h, head in enumerate(q):
        a, b = turned(head, c.rope_theta), turned(k[h // group], c.rope_theta)
        for t in range(len(x)):
            y[t, h] = (b[:t + 1] @ a[t] / math.sqrt(c.head_dim)).softmax(0) @ v[h // group][:t + 1]
    return y.flatten(1) @ w["o_proj.weight"].T


@torch.no_grad()
def written_out(model, row):
    """The forward pass of one row, (T,) -> (T, V), from the weights and the papers alone."""
    w, c = model.state_dict(), model.config
    x = w["model.embed_tokens.weight"][row]
    for i in range(c.num_hidden_layers):
        own = {k.removeprefix(f"model.layers.{i}."): v for k, v in w.items() if k.startswith(f"model.layers.{i}.")}
        attn = {k.removeprefix("self_attn."): v for k, v in own.items()}
        x = x + attention(norm(x, own["input_layernorm.weight"], c.rms_norm_eps), attn, c)
        y = norm(x, own["post_attention_layernorm.weight"], c.rms_norm_eps)
        gate, up, down = (own[f"mlp.{n}_proj.weight"] for n in GATES)
        x = x + (F.silu(y @ gate.T) * (y @ up.T)) @ down.T
    head = "model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"
    return norm(x, w["model.norm.weight"], c.rms_norm_eps) @ w[head].T


@pytest.mark.parametrize("switches", SWITCHES)
def test_the_model_equals_its_formulas_written_out(tiny, switches):
    model = tiny(**switches, rms_norm_eps=0.1)                                             # an eps that is felt
    close(model(IDS)[1].detach(), written_out(model, IDS[1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind, switches", [("Llama", SWITCHES[2]), ("Qwen2", SWITCHES[3]), ("Qwen3", SWITCHES[0])])
def test_the_model_equals_hugging_faces(tiny, kind, switches, tied):
    hf = pytest.importorskip("transformers")
    model = tiny(**switches, tie_word_embeddings=tied)
    shape = {f: getattr(model.config, f) for f in model.config.__slots__ if f not in NOT_THEIRS}
    twin = getattr(hf, kind + "ForCausalLM")(getattr(hf, kind + "Config")(**shape, attn_implementation="eager")).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    close(model(IDS), twin(IDS).logits, atol=1e-4, rtol=1e-4)


def test_a_change_at_t_changes_nothing_before_t_and_something_from_there_and_pads_change_nothing(model):
    changed = IDS.clone()
    changed[:, 4] += 1
    gap = (model(changed) - model(IDS)).abs().amax(-1)
    assert gap[:, :4].max() < 1e-6 and gap[:, 4:].min() > 1e-3
    close(model(F.pad(IDS, (0, 3), value=8))[:, :8], model(IDS), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("switches", SWITCHES)
def test_with_a_cache_uneven_rows_go_on_as_if_each_were_alone(tiny, switches):
    model, length = tiny(**switches), torch.tensor([2, 4])
    whole, cache = model(IDS), models.Cache(model.config, 2, 10, IDS.device)
    prompts = torch.where(torch.arange(4) < length[:, None], IDS[:, :4], 50)             # row 0 padded to row 1's width
    close(model(prompts, cache)[:, :2], whole[:, :2], atol=1e-5, rtol=1e-5)
    cache.position = length.clone()
    for T in (1, 2):                                                                      # two tokens at once work too
        at = cache.position[:, None] + torch.arange(T)
        close(model(IDS.gather(1, at), cache, seen=7), whole[torch.arange(2)[:, None], at], atol=1e-5, rtol=1e-5)
        cache.position += T
    cache.select(torch.tensor([False, True]))                                             # row 0 leaves
    close(model(IDS[1:, 7:], cache, seen=8)[0, 0], whole[1, 7], atol=1e-5, rtol=1e-5)


def test_a_rotated_product_depends_on_the_distance_alone_and_position_zero_is_untouched(model):
    def product(m, n):
        a, b = models.rotate(x, *model.model.angles(torch.tensor([[m, n]])))[0, 0]
        return a @ b
    x = torch.randn(1, 1, 2, 6)
    close(product(3, 8), product(23, 28), atol=1e-4, rtol=1e-4)
    close(product(0, 0), x[0, 0, 0] @ x[0, 0, 1])
    assert not torch.isclose(product(3, 8), product(8, 3), atol=1e-3)


@pytest.mark.parametrize("switches", SWITCHES)
def test_parameters_bear_hugging_faces_names_and_are_as_many_as_the_formula_says(tiny, switches):
    model, block = tiny(**switches), "model.layers.2."
    c, names = model.config, [f"self_attn.{n}_proj.weight" for n in "qkvo"] + [f"self_attn.{n}_norm.weight" for n in "qk"]
    names = [n for n in names if c.qk_norm or "norm" not in n] + [f"self_attn.{n}_proj.bias" for n in "qkv" if c.attention_bias]
    names += [f"{n}.weight" for n in ("input_layernorm", "post_attention_layernorm", *(f"mlp.{n}_proj" for n in GATES))]
    whole = {block + n for n in names} | {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert whole == {name for name in model.state_dict() if block in name or ".layers." not in name}
    layer = 2 * 24 * (48 + 12) + 3 * 24 * 40 + 2 * 24 + c.qk_norm * 2 * 6 + c.attention_bias * (48 + 2 * 12)
    assert sum(p.numel() for p in model.parameters()) == 3 * layer + 24 + (2 - c.tie_word_embeddings) * 61 * 24


def test_a_fresh_model_is_near_uniform(config):
    assert entropy(models.LanguageModel(config)(IDS)).mean() > 0.98 * math.log(61)


def test_a_scalar_model_says_zero_at_first_and_then_reads_its_mean_and_deviation(model):
    scalar = models.ScalarModel(model.model)
    assert scalar(IDS).shape == IDS.shape and (scalar(IDS) == 0).all()
    torch.nn.init.normal_(scalar.score.weight)
    raw = scalar(IDS)
    scalar.mean += 3
    scalar.std *= 2
    close(scalar(IDS), (raw - 3) / 2)


def test_bf16_log_probs_are_near_those_of_fp32(tiny, model):
    half = tiny(dtype="bfloat16")
    half.load_state_dict(model.state_dict())
    assert half(IDS).dtype == torch.bfloat16 and model(IDS).dtype == torch.float32
    close(token_logp(half(IDS), IDS), token_logp(model(IDS), IDS), atol=0.15, rtol=0)
