"""Laws of the transformer: it equals its formulas written out, sees no future, and forgets nothing in its cache."""
import math
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from fakes import close, tiny, token_logp

import minicai.model as models

SWITCHES = [{}, {"tie_word_embeddings": False}, {"qk_norm": False}, {"qk_norm": False, "attention_bias": True}]
IDS = torch.tensor([[7, 3, 60, 3, 22, 0, 41, 7], [5, 5, 9, 1, 2, 33, 4, 58]])


def norm(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def attention(x, w, c):
    """x (T, C): softmax(q k / sqrt(D)) v, the mask drawn, k and v copied for each head. RoPE as it is defined: the
    complex number x_i + i x_{i + D/2} is turned by position * theta^(-2i/D)."""
    T, D, group = len(x), c.head_dim, c.num_attention_heads // c.num_key_value_heads
    q, k, v = (F.linear(x, w[n + "_proj.weight"], w.get(n + "_proj.bias")) for n in "qkv")
    q, k, v = (z.view(T, -1, D).transpose(0, 1) for z in (q, k, v))                        # (H or K, T, D)
    if c.qk_norm:
        q, k = norm(q, w["q_norm.weight"], c.rms_norm_eps), norm(k, w["k_norm.weight"], c.rms_norm_eps)
    angle = torch.outer(torch.arange(T).double(), c.rope_theta ** (-torch.arange(0, D, 2).double() / D))
    q, k = (torch.complex(*z.double().chunk(2, dim=-1)) * torch.polar(angle * 0 + 1, angle) for z in (q, k))
    k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
    scores = (q @ k.conj().transpose(1, 2)).real.float() / math.sqrt(D)                    # (H, T, T)
    y = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf).softmax(-1) @ v
    return y.transpose(0, 1).flatten(1) @ w["o_proj.weight"].T


@torch.no_grad()
def written_out(model, row):
    """The forward pass of one row, (T,) -> (T, V), from the weights and the papers alone."""
    w, c = model.state_dict(), model.config
    x = w["model.embed_tokens.weight"][row]
    for i in range(c.num_hidden_layers):
        own = {k.split(f".{i}.")[1].removeprefix("self_attn."): v for k, v in w.items() if f".{i}." in k}
        x = x + attention(norm(x, own["input_layernorm.weight"], c.rms_norm_eps), own, c)
        y = norm(x, own["post_attention_layernorm.weight"], c.rms_norm_eps)
        gate, up, down = (own[f"mlp.{n}_proj.weight"].T for n in ("gate", "up", "down"))
        x = x + (F.silu(y @ gate) * (y @ up)) @ down
    head = "model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"
    return norm(x, w["model.norm.weight"], c.rms_norm_eps) @ w[head].T


@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.exercise("rope", 2)
@pytest.mark.exercise("attention", 3)
def test_the_model_equals_its_formulas_written_out(switches):
    model = tiny(**switches, rms_norm_eps=0.1)                                             # an eps that is felt
    close(model(IDS)[1].detach(), written_out(model, IDS[1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind, switches", [("Llama", SWITCHES[2]), ("Qwen2", SWITCHES[3]), ("Qwen3", SWITCHES[0])])
def test_the_model_equals_hugging_faces(kind, switches, tied):
    hf = pytest.importorskip("transformers")
    model = tiny(**switches, tie_word_embeddings=tied)
    shape = {f: x for f, x in asdict(model.config).items() if f not in ("qk_norm", "attention_bias", "dtype")}
    twin = getattr(hf, kind + "ForCausalLM")(getattr(hf, kind + "Config")(**shape, attn_implementation="eager")).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    close(model(IDS), twin(IDS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.exercise("attention", 1)
def test_a_change_at_t_changes_nothing_before_t_and_pads_change_nothing_at_all(model):
    gap = (model(IDS + (torch.arange(8) == 4)) - model(IDS)).abs().amax(-1)
    assert gap[:, :4].max() < 1e-6 and gap[:, 4:].min() > 1e-3
    close(model(F.pad(IDS, (0, 3), value=8))[:, :8], model(IDS), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("switches", SWITCHES)
@pytest.mark.exercise("attention", 2)
def test_with_a_cache_uneven_rows_go_on_as_if_each_were_alone(switches):
    model, length = tiny(**switches), torch.tensor([2, 4])
    whole, cache = model(IDS), models.Cache(model.config, 2, 10, IDS.device)
    model.model.micro_batch = 1                                                          # row by row into the cache
    prompts = torch.where(torch.arange(4) < length[:, None], IDS[:, :4], 50)             # row 0 padded to row 1's width
    close(model(prompts, cache)[:, :2], whole[:, :2], atol=1e-5, rtol=1e-5)
    cache.position = length.clone()
    for T in (1, 2):                                                                      # two tokens at once work too
        at = cache.position[:, None] + torch.arange(T)
        close(model(IDS.gather(1, at), cache, seen=7), whole[torch.arange(2)[:, None], at], atol=1e-5, rtol=1e-5)
        cache.position += T
    cache.select(torch.tensor([False, True]))                                             # row 0 leaves
    close(model(IDS[1:, 7:], cache, seen=8)[0, 0], whole[1, 7], atol=1e-5, rtol=1e-5)


@pytest.mark.exercise("rope", 1)
def test_rotated_products_depend_on_the_distance_alone():
    angle = torch.arange(30)[:, None] * torch.tensor([1., .3, .1, 1., .3, .1])
    q, k = (models.rotate(torch.randn(6).expand(1, 1, 30, 6), angle.cos(), angle.sin())[0, 0] for _ in "qk")
    close((q @ k.T)[1:, 1:], (q @ k.T)[:-1, :-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("switches", SWITCHES)
def test_parameters_bear_hugging_faces_names_and_are_as_many_as_the_papers_say(switches):
    model, widths = tiny(**switches), {"q": 48, "k": 12, "v": 12}
    block = {f"self_attn.{n}_proj.weight": 24 * w for n, w in (widths | {"o": 48}).items()}
    block |= {f"self_attn.{n}_proj.bias": w for n, w in widths.items() if model.config.attention_bias}
    block |= {f"self_attn.{n}_norm.weight": 6 for n in "qk" if model.config.qk_norm}
    block |= {f"mlp.{n}_proj.weight": 24 * 40 for n in ("gate", "up", "down")}
    block |= {f"{n}_layernorm.weight": 24 for n in ("input", "post_attention")}
    names = {f"model.layers.{i}.{n}": size for i in range(3) for n, size in block.items()}
    names |= {"model.norm.weight": 24, "model.embed_tokens.weight": 61 * 24, "lm_head.weight": 61 * 24}
    assert names == {name: x.numel() for name, x in model.state_dict().items()}
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == model.config.tie_word_embeddings


def test_a_scalar_model_says_zero_at_first_and_then_reads_its_mean_and_deviation(model):
    scalar, hidden = models.ScalarModel(model.model), model.model(IDS)
    assert torch.equal(scalar.read(hidden), torch.zeros(IDS.shape))
    torch.nn.init.normal_(scalar.score.weight)
    raw = scalar.read(hidden)
    scalar.mean += 3
    scalar.std *= 2
    close(scalar.read(hidden), (raw - 3) / 2)


def test_bf16_log_probs_are_near_those_of_fp32(model):
    half = tiny(dtype="bfloat16")
    half.load_state_dict(model.state_dict())
    assert half(IDS).dtype == torch.bfloat16 and model(IDS).dtype == torch.float32
    close(token_logp(half(IDS), IDS), token_logp(model(IDS), IDS), atol=0.15, rtol=0)
