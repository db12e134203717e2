"""Laws of the three scripts, end to end with tiny configurations: what is written, that it repeats, that PPO learns."""
import json
import os
import random
import shutil
import subprocess
import sys
from functools import partial

import pytest
import torch
from fakes import STAGES, command, contents, main, save, table, tiny_assistant
from torch.nn.attention import SDPBackend, sdpa_kernel

import train_ppo
from minicai import UserError, feedback, finetune, model, ppo, revise, run, sample
from minicai.tools import evaluate

TABLE = table("written")
WRITTEN = {stage: {*TABLE["every"].split(), *files.split()} for stage, files in TABLE["stages"].items()}


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_stage_writes_what_it_promises_and_leaves_the_stages_before_as_they_were(done):
    run, after = done
    assert {path.name: {file.name for file in path.iterdir()} for path in run.iterdir() if path.is_dir()} == WRITTEN
    assert after[0].items() <= after[1].items() <= after[2].items()
    transcripts = [revise.Revision(**record) for record in records(run / "sl" / "transcripts.jsonl")]
    comparisons = [feedback.Comparison(**record) for record in records(run / "rm" / "comparisons.jsonl")]
    assert [len(part) for r in transcripts for part in (r.principles, r.critiques, r.revisions)] == [2] * 24
    assert [c.source for c in comparisons if 0 <= c.p_a <= 1] == ["ai"] * 12 + ["human"] * 10
    for r in records(run / "ppo" / "rollouts.jsonl"):                     # each token's numbers make up the response's
        assert {"iteration", "prompt", "response"} < set(r) and r["tokens"][-1][0] == "<" or len(r["tokens"]) == 16
        assert len({len(r[name]) for name in "tokens logp logp_ref reward value adv ret ratio".split()}) == 1
        assert abs(sum(r["logp"]) - sum(r["logp_ref"]) - r["kl"]) < 5e-3
        assert abs(sum(r["reward"]) - r["score"] + 0.3 * r["kl"]) < 5e-3 and all(x > 0 for x in r["ratio"])
    assert json.loads((run / "ppo" / "config.json").read_text())["training"]["max_new"] == 16
    steps = [r for r in records(run / "ppo" / "metrics.jsonl") if "iteration" in r]
    assert len(steps) == 2 and all(abs(r["first_ratio"] - 1) < 1e-2 for r in steps) and steps[0]["kl"] == 0


def test_the_same_seed_writes_the_same_bytes_from_the_command_line_too(done, tmp_path):
    for stage in STAGES:
        again = command(stage, tmp_path / "again")
        subprocess.run(again, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    first, again = done[1][-1], contents(tmp_path / "again")
    differ = {name.split("/")[-1] for name in {*first, *again} if first.get(name) != again.get(name)}
    assert differ <= {"config.json", "seconds.json", "manifest.sha256"}    # which name the run, and the time


def test_another_seed_writes_something_else(done, begun):
    for stage in ("sl", "ppo"):
        main(stage, begun, seed=1, overwrite=True)
    for name in ("sl/transcripts.jsonl", "sl/metrics.jsonl", "ppo/rollouts.jsonl", "ppo/metrics.jsonl"):
        assert (begun / name).read_bytes() != (done[0] / name).read_bytes()


def test_evaluation_has_its_shape(done):
    result = evaluate.evaluate(done[0], 8, "test", torch.device("cpu"))
    assert json.loads((done[0] / "evaluation.json").read_text()) == json.loads(json.dumps(result))
    for part, names in TABLE["evaluation"].items():
        assert set(result[part] if part else result) == set(names)
    for found in (found[key] for found in result["models"].values() for key in ("t1", "greedy")):
        assert set(found) == set(TABLE["groups"])
        assert [len(found[name].pop("by_category")) for name in ("requests", "frames", "far_frames")] == [8] * 3
        assert all(abs(sum(row.values()) - 1) < 1e-3 for row in found.values())


def test_runs_are_compared_on_the_same_requests_and_a_run_is_as_good_as_its_copy(done, begun, capsys):
    shutil.rmtree(begun / "ppo")
    result, first = evaluate.evaluate(begun, 8, "valid", torch.device("cpu"), [done[0]]), done[0].name
    assert set(result["models"]) == {"base", "sl", f"{first}:sl", f"{first}:rl"}
    assert result["models"]["sl"] == result["models"][f"{first}:sl"]
    evaluate.print_tables(result, begun)
    assert f"{first}:sl" in capsys.readouterr().out


def test_loss_advantage_and_reward_are_plugs_and_samples_fill_the_group(begun):
    losses, olds, asked = [], [], []
    main("ppo", begun, overwrite=True, iterations=1, prompts=5, samples_per_prompt=3, plugs={
        "reward_fn": lambda prompts, texts: asked.append(prompts) or torch.arange(len(texts)) / 1.0,
        "advantage_fn": lambda old, cfg: olds.append(old) or train_ppo.gae_advantages(old, cfg),
        "loss_fn": lambda new, old: losses.append((new, old)) or ppo.ppo_loss(new, old)})
    assert olds[0].group.tolist() == [i // 3 for i in range(15)] and asked[0][::3] == asked[0][2::3]
    assert len(losses) == 4 and all(isinstance(new, ppo.New) and isinstance(old, ppo.Old) for new, old in losses)
    for epoch in (losses[:2], losses[2:]):
        assert sorted(torch.cat([old.group for _, old in epoch]).tolist()) == olds[0].group.tolist()


def test_ppo_raises_a_simple_score(tmp_path):
    """From short words of random letters to words full of e."""
    speaker, rng = tiny_assistant(), random.Random(0)
    words = ["".join(rng.choices("abcde", k=rng.randint(1, 8))) for _ in range(320)]
    examples = [finetune.response_example(speaker.tokenizer, [("user", "?"), ("assistant", word)]) for word in words]
    list(finetune.finetune(speaker.model, examples, epochs=4, lr=1e-2, batch=32, rng=rng))
    save(tmp_path / "sl", speaker.model)
    main("ppo", tmp_path, iterations=16, prompts=64, samples_per_prompt=1, kl_coef=0.0, lr=3e-3, minibatch=32, plugs={
        "reward_fn": lambda prompts, texts: torch.tensor([text.count("e") / max(1, len(text)) for text in texts])})
    score = [r["score"] for r in records(tmp_path / "ppo" / "metrics.jsonl") if "iteration" in r]
    assert sum(score[:2]) / 2 < 0.3 and sum(score[-4:]) / 4 > 0.8


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="glibc")
def test_memory_that_is_freed_is_not_fetched_anew():
    said = subprocess.run([sys.executable, "-c", TABLE["pages"]], check=True, capture_output=True, text=True).stdout
    assert int(said.split()[0]) > 10 * int(said.split()[1])


@pytest.fixture
def uncompiled(monkeypatch):
    """Whatever a test compiles is plain again after it."""
    monkeypatch.setattr(model.Transformer, "run", model.Transformer.run)
    yield
    run.compile_trunks.cache_clear()


@torch.no_grad()
def test_a_compiled_model_says_what_the_plain_one_says(speaker, monkeypatch, uncompiled):
    def said():
        generator = torch.Generator().manual_seed(0)
        replies, logps = sample.generate(speaker, [[1, 2, 3], [4]], max_new=3, stops={60}, generator=generator)
        return replies, torch.tensor(sum(logps, [])), speaker(torch.arange(32).view(2, 16))
    plain = said()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))   # traced, not built
    run.compile_trunks(torch.device("cpu"))
    forward, found = model.Transformer.run, said()
    assert found[0] == plain[0] and hasattr(forward, "_torchdynamo_orig_callable")
    for ours, theirs in zip(found[1:], plain[1:], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_where_nothing_compiles_a_script_says_so_in_one_line(tmp_path, monkeypatch, uncompiled):
    def broken(*args):
        raise ValueError("no compiler\nfound anywhere")
    monkeypatch.setattr(torch, "compile", lambda forward: broken)
    with pytest.raises(UserError, match="^--compile: torch.compile does not work here: no compiler found anywhere$"):
        main("sl", tmp_path / "run", compile=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.cuda
@pytest.mark.parametrize("compiled", [False, True])
def test_the_chain_runs_on_a_gpu(tmp_path, compiled, uncompiled):
    for stage in STAGES:
        main(stage, tmp_path / "run", device="cuda", compile=compiled)
    assert all(abs(r.get("first_ratio", 1) - 1) < 1e-2 for r in records(tmp_path / "run" / "ppo" / "metrics.jsonl"))


@pytest.mark.cuda
def test_training_attention_is_the_fused_kernel():
    shape = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32)
    network = model.LanguageModel(model.ModelConfig(97, **shape, dtype="bfloat16")).cuda()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):                     # any other kernel is an error in here
        network(torch.randint(97, (3, 48), device="cuda")).float().logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
