"""Laws of the transformer: it equals its formulas written out, sees no future, and forgets nothing in its cache."""
import math

import pytest
import torch
import torch.nn.functional as F

import minicai.model as models
from minicai.tensors import entropy, token_logp

close = torch.testing.assert_close
SWITCHES = [{}, {"tie_word_embeddings": False}, {"qk_norm": False}, {"qk_norm": False, "attention_bias": True}]
IDS = torch.tensor([[7, 3, 60, 3, 22, 0, 41, 7], [5, 5, 9, 1, 2, 33, 4, 58]])


def norm(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def turned(x, theta):
    """RoPE as it is defined: x_i + i x_{i + D/2} is a complex number, turned by position * theta^(-2i/D). x (T, D)."""
    T, D = x.shape
    angle = torch.outer(torch.arange(T).double(), theta ** (-torch.arange(0, D, 2).double() / D))
    z = torch.complex(*x.double().chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], dim=-1).float()


def attention(x, w, c):
    """x (T, C): softmax(q k / sqrt(D)) v, head by head, a loop over positions for the causal mask."""
    q, k, v = (F.linear(x, w[f"{n}_proj.weight"], w.get(f"{n}_proj.bias")).split(c.head_dim, dim=-1) for n in "qkv")
    heads = []
    for h in range(c.num_attention_heads):
        g = h // (c.num_attention_heads // c.num_key_value_heads)                     # h's group shares one k and v
        a, b = ((norm(t, w[f"{n}_norm.weight"], c.rms_norm_eps) if c.qk_norm else t) for n, t in (("q", q[h]), ("k", k[g])))
        a, b = turned(a, c.rope_theta), turned(b, c.rope_theta)
        heads.append(torch.stack([(b[:t + 1] @ a[t] / math.sqrt(c.head_dim)).softmax(0) @ v[g][:t + 1] for t in range(len(x))]))
    return torch.cat(heads, dim=-1) @ w["o_proj.weight"].T


def written_out(model, row):
    """The forward pass of one row, (T,) -> (T, V), from the weights and the papers alone."""
    w, c = model.state_dict(), model.config
    x = w["model.embed_tokens.weight"][row]
    for i in range(c.num_hidden_layers):
        at = f"model.layers.{i}."
        own = {k.removeprefix(at + "self_attn."): v for k, v in w.items() if k.startswith(at + "self_attn.")}
        x = x + attention(norm(x, w[at + "input_layernorm.weight"], c.rms_norm_eps), own, c)
        y = norm(x, w[at + "post_attention_layernorm.weight"], c.rms_norm_eps)
        gate, up, down = (w[at + f"mlp.{n}_proj.weight"] for n in ("gate", "up", "down"))
        x = x + (F.silu(y @ gate.T) * (y @ up.T)) @ down.T
    head = "model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"
    return norm(x, w["model.norm.weight"], c.rms_norm_eps) @ w[head].T


@pytest.mark.parametrize("switches", SWITCHES)
def test_the_model_equals_its_formulas_written_out(tiny, switches):
    model = tiny(**switches)
    close(model(IDS)[1], written_out(model, IDS[1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind, switches", [("Llama", SWITCHES[2]), ("Qwen2", SWITCHES[3]), ("Qwen3", SWITCHES[0])])
@pytest.mark.parametrize("tied", [True, False])
def test_the_model_equals_hugging_faces(tiny, kind, switches, tied):
    hf = pytest.importorskip("transformers")
    model = tiny(**switches, tie_word_embeddings=tied)
    shape = {f: getattr(model.config, f) for f in model.config.__slots__ if f not in ("qk_norm", "dtype", "attention_bias")}
    twin = getattr(hf, kind + "ForCausalLM")(getattr(hf, kind + "Config")(**shape, attn_implementation="eager")).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    close(model(IDS), twin(IDS).logits, atol=1e-4, rtol=1e-4)


def test_a_change_at_t_changes_nothing_before_t_and_something_after(model):
    changed = IDS.clone()
    changed[:, 4] += 1
    a, b = model(IDS), model(changed)
    assert torch.equal(a[:, :4], b[:, :4]) and (a[:, 4:] != b[:, 4:]).any(-1).all()


def test_pads_on_the_right_change_nothing(model):
    close(model(F.pad(IDS, (0, 3), value=8))[:, :8], model(IDS), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("switches", SWITCHES)
def test_with_a_cache_uneven_rows_go_on_as_if_each_were_alone(tiny, switches):
    model, length = tiny(**switches), torch.tensor([2, 4])
    cache = models.Cache(model.config, 2, 10, IDS.device)
    prompts = torch.where(torch.arange(4) < length[:, None], IDS[:, :4], 50)           # row 0 is padded to row 1's length
    close(model(prompts, cache)[:, :2], model(IDS)[:, :2], atol=1e-5, rtol=1e-5)
    cache.position = length.clone()
    for T in (1, 2, 1):                                                              # two tokens at once work as well
        at = cache.position[:, None] + torch.arange(T)
        logits = model(IDS.gather(1, at), cache, seen=int(at.max()) + 1)
        close(logits, model(IDS)[torch.arange(2)[:, None], at], atol=1e-5, rtol=1e-5)
        cache.position += T
    cache.select(torch.tensor([False, True]))
    close(model(torch.tensor([[6]]), cache, seen=9)[0, 0], model(torch.cat([IDS[1], torch.tensor([6])])[None])[0, -1],
          atol=1e-5, rtol=1e-5)


def test_a_rotated_product_depends_on_the_distance_alone_and_position_zero_is_untouched(model):
    def product(m, n):
        cos, sin = model.model.angles(torch.tensor([[m, n]]))
        a, b = models.rotate(x, cos, sin)[0, 0]
        return a @ b
    x = torch.randn(1, 1, 2, 6)
    close(product(3, 8), product(23, 28), atol=1e-4, rtol=1e-4)
    close(product(0, 0), x[0, 0, 0] @ x[0, 0, 1])
    assert not torch.isclose(product(3, 8), product(8, 3), atol=1e-3)


def test_rmsnorm_by_hand():
    layer = models.RMSNorm(2, 0.5)
    layer.weight.data = torch.tensor([1., -2.])
    close(layer(torch.tensor([[3., 4.]])), torch.tensor([[3., -8.]]) / math.sqrt(13))


@pytest.mark.parametrize("switches", SWITCHES)
def test_parameters_bear_hugging_faces_names_and_are_as_many_as_the_formula_says(tiny, switches):
    model, block = tiny(**switches), "model.layers.2."
    c, names = model.config, {name.removeprefix(block) for name in model.state_dict() if name.startswith(block)}
    expected = {f"self_attn.{n}_proj.weight" for n in "qkvo"} | {f"mlp.{n}_proj.weight" for n in ("gate", "up", "down")}
    expected |= {"input_layernorm.weight", "post_attention_layernorm.weight"}
    expected |= {f"self_attn.{n}_norm.weight" for n in "qk" if c.qk_norm}
    assert names == expected | {f"self_attn.{n}_proj.bias" for n in "qkv" if c.attention_bias}
    outside = {name for name in model.state_dict() if ".layers." not in name}
    assert outside == {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    layer = 2 * 24 * 48 + 2 * 24 * 12 + 3 * 24 * 40 + 2 * 24 + c.qk_norm * 2 * 6 + c.attention_bias * (48 + 2 * 12)
    heads = 1 if c.tie_word_embeddings else 2
    assert sum(p.numel() for p in model.parameters()) == 3 * layer + 24 + heads * 61 * 24


def test_a_fresh_model_is_near_uniform(config):
    assert entropy(models.LanguageModel(config)(IDS)).mean() > 0.98 * math.log(61)


def test_a_scalar_model_says_zero_at_first_and_then_reads_its_mean_and_deviation(model):
    scalar = models.ScalarModel(model.model)
    assert scalar(IDS).shape == IDS.shape and (scalar(IDS) == 0).all()
    scalar.score.weight.data.normal_()
    raw = scalar(IDS)
    scalar.mean += 3
    scalar.std *= 2
    close(scalar(IDS), (raw - 3) / 2)
    assert {"mean", "std", "score.weight"} <= set(scalar.state_dict())


def test_bf16_log_probs_are_near_those_of_fp32(tiny, model):
    half = tiny(dtype="bfloat16")
    half.load_state_dict(model.state_dict())
    gap = (token_logp(half(IDS), IDS) - token_logp(model(IDS), IDS)).abs()
    assert half(IDS).dtype == torch.bfloat16 and 0 < gap.max() < 0.15
