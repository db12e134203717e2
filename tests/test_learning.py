"""Laws of learning and keeping: an update is whole or does not happen, and so is a folder of weights."""
import json
import math
import random

import pytest
import torch

import minicai.checkpoint as checkpoint
import minicai.finetune as finetune
import minicai.optimise as optimise
from minicai import UserError
from minicai.model import ScalarModel

close = torch.testing.assert_close
TURNS = [("user", "the cat"), ("assistant", "sat"), ("user", "a mat"), ("assistant", "banana")]


# One update


def knob(value=1.0, lr=0.1):
    """A single weight with an SGD, whose steps can be worked by hand."""
    weight = torch.nn.Parameter(torch.tensor([float(value)]))
    return weight, [torch.optim.SGD([weight], lr=lr)]


@pytest.mark.parametrize("loss", [lambda w: w.sum() * math.nan, lambda w: w.sum() / 0,      # not finite itself
                                  lambda w: (w - 1).abs().sqrt().sum()])                    # finite, its slope is not
def test_a_loss_or_gradient_that_is_not_finite_stops_and_leaves_the_weights(loss):
    weight, optimisers = knob()
    with pytest.raises(optimise.Diverged):
        optimise.update(loss(weight), optimisers)
    assert weight.item() == 1
    close(optimise.update(weight.sum() / 2, optimisers), 0.5)                   # and nothing of it stays for the next
    close(weight.item(), 0.95)


def test_a_gradient_over_the_norm_is_clipped_and_reported_as_it_was():
    weight, optimisers = knob()
    close(optimise.update(40 * weight.sum(), optimisers, max_norm=2.0), 40.0)
    close(weight.item(), 1 - 0.1 * 2, atol=1e-5, rtol=0)


def test_the_norm_is_over_all_optimisers_together():
    (a, first), (b, second) = knob(), knob()
    close(optimise.update(3 * a.sum() + 4 * b.sum(), first + second, max_norm=1.0), 5.0)
    close((a.item(), b.item()), (1 - 0.1 * 0.6, 1 - 0.1 * 0.8))


def test_scales_are_of_the_first_learning_rate_and_do_not_compound():
    weight, optimisers = knob()
    for scale, expected in ((0.5, 0.95), (0.5, 0.90), (1.0, 0.80)):
        optimise.update(weight.sum(), optimisers, scale=scale)
        close(weight.item(), expected)


def test_the_schedule_rises_to_one_and_falls_to_zero():
    factors = [optimise.warmup_cosine(step, 20, warmup=5) for step in range(21)]
    close(factors[:6], [.2, .4, .6, .8, 1., 1.])
    assert factors[5:] == sorted(factors[5:], reverse=True) and factors[20] == 0


# Sequences


def test_only_the_last_turn_and_its_end_are_learned(tokenizer):
    ids, weight = finetune.response_example(tokenizer, TURNS)
    assert ids == tokenizer.render(TURNS) and len(weight) == len(ids) and set(weight) == {0, 1}
    assert [i for i, w in zip(ids, weight, strict=True) if w] == tokenizer.encode("banana") + [tokenizer.end]
    assert weight == sorted(weight)


def test_the_loss_is_the_weighted_mean_over_full_logits_and_blind_to_targets_of_weight_zero(model):
    ids, weight = torch.randint(61, (3, 7)), torch.rand(3, 7) * (torch.rand(3, 7) > 0.4)
    logp = model(ids)[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    close(finetune.sequence_loss(model, ids, weight), -(weight[:, 1:] * logp).sum() / weight[:, 1:].sum())
    pads = torch.cat([ids, ids[:, :2]], dim=1), torch.cat([weight, torch.zeros(3, 2)], dim=1)
    close(finetune.sequence_loss(model, *pads), finetune.sequence_loss(model, ids, weight))


def test_parts_weighted_by_their_targets_add_up_to_the_whole(model):
    ids, weight = torch.randint(61, (3, 7)), torch.rand(3, 7)
    share = weight[:, 1:].sum(1) / weight[:, 1:].sum()
    parts = sum(s * finetune.sequence_loss(model, i[None], w[None]) for s, i, w in zip(share, ids, weight, strict=True))
    close(parts, finetune.sequence_loss(model, ids, weight))


def test_an_epoch_shows_every_example_once_in_a_new_order():
    rng = random.Random(0)
    first, second = (list(finetune.batches(range(10), 4, rng)) for _ in range(2))
    assert [len(b) for b in first] == [4, 4, 2] and sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10))
    assert first != second


def test_finetuning_learns_a_tiny_set(speaker, tokenizer):
    examples = [finetune.response_example(tokenizer, [("user", q), ("assistant", a)]) for q, a in (("cat", "mat"), ("a", "b"))]
    steps = list(finetune.finetune(speaker, examples, epochs=40, lr=3e-3, batch=1, rng=random.Random(0), pad_id=tokenizer.pad))
    assert [s["step"] for s in steps] == list(range(1, 81)) and steps[-1]["epoch"] == 39
    assert steps[0]["loss"] > 2 and max(s["loss"] for s in steps[-2:]) < 0.1


# Folders


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    final = tmp_path / "deep" / "sl"
    for text in "12":
        with checkpoint.whole_folder(final) as folder:
            (folder / text).write_text(text)
            assert (final / "1").exists() == (text == "2")                         # the old one stays until the new is done
    assert [p.name for p in final.iterdir()] == ["2"] and list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_work_cut_short_leaves_nothing_new_and_the_old_as_it_was(tmp_path, error):
    (tmp_path / "sl").mkdir()
    for name in ("sl", "rm"):
        with pytest.raises(error), checkpoint.whole_folder(tmp_path / name) as folder:
            (folder / "weights").write_text("half")
            raise error
    assert [p.name for p in tmp_path.rglob("*")] == ["sl"]


def test_what_a_crash_left_behind_does_not_stop_the_next_run(tmp_path):
    for name in ("sl", ".sl.old", ".sl.part"):                                      # killed in the middle of the renaming
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("of a crash")
    with checkpoint.whole_folder(tmp_path / "sl") as folder:
        (folder / "new").write_text("1")
    assert [p.name for p in (tmp_path / "sl").iterdir()] == ["new"]


@pytest.fixture
def kept(tmp_path, speaker, tokenizer):
    checkpoint.save_model(tmp_path, speaker, tokenizer, {"lr": 0.1})
    return tmp_path


def test_a_loaded_model_is_bitwise_the_saved_one(kept, speaker, tokenizer):
    model, loaded = checkpoint.load_model(kept)
    ids = torch.tensor([tokenizer.render(TURNS)])
    assert torch.equal(model(ids), speaker(ids)) and loaded.ranks == tokenizer.ranks and not model.training
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert json.loads((kept / checkpoint.CONFIG).read_text())["training"] == {"lr": 0.1}


def test_a_scalar_model_keeps_its_mean_and_deviation(tmp_path, speaker, tokenizer):
    scalar = ScalarModel(speaker.model)
    scalar.mean += 3
    scalar.score.weight.data.normal_()
    checkpoint.save_model(tmp_path, scalar, tokenizer, {})
    assert torch.equal(checkpoint.load_model(tmp_path, ScalarModel)[0](torch.tensor([[1, 2]])), scalar(torch.tensor([[1, 2]])))


class Malice:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran code')",))


def spoil(folder, how):
    config = json.loads((folder / checkpoint.CONFIG).read_text())
    if how in (checkpoint.CONFIG, checkpoint.TOKENS, checkpoint.WEIGHTS):
        (folder / how).unlink()
    elif how == "malice":
        torch.save(Malice(), folder / checkpoint.WEIGHTS)
    elif how == "no weights":
        (folder / checkpoint.WEIGHTS).write_bytes(b"hello")
    elif how == "cut weights":
        (folder / checkpoint.WEIGHTS).write_bytes((folder / checkpoint.WEIGHTS).read_bytes()[:3000])
    elif how == "no config":
        (folder / checkpoint.CONFIG).write_text("{")
    else:
        (folder / checkpoint.CONFIG).write_text(json.dumps({"model": config["model"] | {how: 30}}))


@pytest.mark.parametrize("how", [checkpoint.CONFIG, checkpoint.TOKENS, checkpoint.WEIGHTS, "no config", "no weights",
                                 "cut weights", "malice", "hidden_size", "vocab_size", "unknown_field", "num_hidden_layers"])
def test_a_folder_without_such_a_model_is_refused_in_one_line_that_names_it(kept, how):
    spoil(kept, how)
    with pytest.raises(UserError) as refusal:
        checkpoint.load_model(kept)
    assert str(kept) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_language_model_is_no_scalar_model(kept):
    with pytest.raises(UserError, match="ScalarModel"):
        checkpoint.load_model(kept, ScalarModel)
