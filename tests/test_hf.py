"""Laws of open weights: what is loaded or saved speaks as in transformers; whatever could make it differ is refused."""
import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from unicodedata import category, combining, ucd_3_2_0

import jinja2
import pytest
import torch
from fakes import ROOT, main, save, table, write
from hypothesis import given
from hypothesis import strategies as st

from minicai import UserError, assistant, checkpoint, hf, hf_tokens, preference, tokens
from minicai import model as models
from minicai.tools import evaluate, export
from minicai.toyworld.bpe import train_bpe
from minicai.toyworld.world import World

transformers, tokenizers, safetensors = map(pytest.importorskip, ("transformers", "tokenizers", "safetensors.torch"))
pytestmark = pytest.mark.hf
TABLE = table("open_weights")
FAMILIES, STYLES, LLAMA, CHATML = (TABLE[name] for name in ("families", "styles", "llama", "chatml"))
TEXT = "".join((ROOT / name).read_text() for name in ("LICENSE", "constitution.txt")) + """
    We'll sell 1234567 if he'd NOT -- f(x) = {y[0]}; ///   \t\r\n\n  naïve Übermut 東京へ行く
    Привет e\u0301 a\u0308 é ä ½ ⅷ 🙂 \u3000 x\u200by """
PIECES = ["'s", "'LL", " ", "   ", "\n", "\r\n", "\t", "12", "½", "é", "e\u0301", "\u1e9b\u0323", "ſ", *TEXT.split(" ")]


def train(style):
    """A tokenizer of some 600 tokens, trained in one of the four styles, as the package tokenizers has it."""
    bpe = tokenizers.Tokenizer.from_str(json.dumps(TABLE["specs"][style]))
    bpe.train_from_iterator([TEXT], tokenizers.trainers.BpeTrainer(            # SmolLM2 lacks bytes, has controls first
        vocab_size=600, special_tokens=CHATML if style in ("gpt2", "smollm2") else [], show_progress=False,
        initial_alphabet=[] if style == "smollm2" else tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    bpe.add_special_tokens(LLAMA if style == "llama3" else CHATML)
    bpe.add_tokens(["<think>"])
    return bpe


@pytest.fixture(scope="session")
def trained():
    """For each of STYLES the tokenizer, as theirs and as ours."""
    theirs = {name: train(name.split()[0]) for name in STYLES}
    return {name: (bpe, hf_tokens.OpenTokenizer(json.loads(bpe.to_str()), [bpe.token_to_id(name.split()[1])]))
            for name, bpe in theirs.items()}


@pytest.fixture(scope="session")
def tokenizer():
    """The toy's own kind, here of a richer text: a space joins up with words, with digits and with marks."""
    return tokens.Tokenizer(train_bpe(TEXT, 400))


@pytest.fixture(scope="session")
def folders(trained, tmp_path_factory):
    """For each family a folder and its model in transformers, no weight of which is 0 or 1."""
    made = {}
    for family, kind in FAMILIES.items():
        (bpe, ours), folder = trained[kind["tokenizer"]], tmp_path_factory.mktemp(family)
        rope = {"rope_type": "default", "rope_theta": 5e3} | kind.get("rope", {})
        config = getattr(transformers, kind["class"] + "Config")(
            vocab_size=ours.vocab_size + 9, **TABLE["sizes"], rope_parameters=rope, tie_word_embeddings=kind["tied"],
            eos_token_id=ours.end)
        torch.manual_seed(1)
        twin = getattr(transformers, kind["class"] + "ForCausalLM")(config).eval()
        for name, parameter in twin.named_parameters():
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.5 if parameter.ndim == 1 else 0.15)
        twin.save_pretrained(folder)
        bpe.save(str(folder / "tokenizer.json"))
        made[family] = folder, twin
    return made


@torch.no_grad()
def gap(model, twin):
    """The largest difference of logits over the largest logit, of texts longer than the first context of llama3."""
    ids = torch.randint(model.config.vocab_size, (2, 120), generator=torch.Generator().manual_seed(0))
    return ((model(ids) - twin(ids).logits).abs().max() / twin(ids).logits.abs().max()).item()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers_whole_or_in_shards_in_both_spellings(folders, family, tmp_path):
    folder, twin = folders[family]
    model, _ = hf.load(folder)
    assert gap(model, twin) <= 1e-6 and type(model) is models.LanguageModel and model.config.dtype == "float32"
    twin.save_pretrained(tmp_path, max_shard_size="30KB")
    shutil.copy(folder / "tokenizer.json", tmp_path)
    spec = json.loads((tmp_path / "config.json").read_text())                    # as transformers 4 wrote it
    rope, spec["torch_dtype"] = spec.pop("rope_parameters"), spec.pop("dtype")
    spec |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope if "factor" in rope else None,
             "eos_token_id": [spec["eos_token_id"]]}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    (tmp_path / "generation_config.json").unlink()
    again, _ = hf.load(tmp_path)
    assert len([*tmp_path.glob("model-*")]) > 2 and again.config == model.config and gap(again, twin) <= 1e-6
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == FAMILIES[family]["tied"]


def interleaved(x, cos, sin):
    cos, sin = (z[..., :z.shape[-1] // 2].repeat_interleave(2, -1) for z in (cos, sin))
    return x * cos + torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2) * sin


@pytest.mark.parametrize("fault, family", [(x, family) for family, kind in FAMILIES.items() for x in kind["faults"]])
def test_a_planted_fault_is_seen(fault, family, folders, monkeypatch):
    model, _ = hf.load(folders[family][0])
    own = dict(model.named_parameters())
    if fault == "rope":
        monkeypatch.setattr(models, "rotate", interleaved)
    elif fault in ("rope_theta", "rope_scaling"):
        model.model.config = replace(model.config, **{fault: {"rope_theta": 1e4, "rope_scaling": ()}[fault]})
    for name in (name for name in own if fault in name):
        if fault == "input_layernorm":
            after = own[name.replace("input", "post_attention")]
            own[name].data, after.data = after.data, own[name].data
        else:                                                  # kv-heads in another order; no bias; no weight of a norm
            own[name].data = own[name].data.roll(16, 0) if "proj.w" in fault else own[name].data * 0 + ("norm" in fault)

    assert gap(model, folders[family][1]) > 1e-2


def strings(count):
    """Random texts of characters from everywhere, of words, and of what tokenizers treat in special ways.

    Without what Unicode's tables of another age see in another way: unassigned characters, newer combining marks."""
    rng, some = random.Random(0), []
    for _ in range(count * 20):
        code = rng.randint(*rng.choice(((32, 126), (0, 0x24F), (0, 0x33FF), (0, 0x10FFFF))))
        some.append(rng.choice((rng.choice(PIECES[:13]), rng.choice(PIECES), chr(code) if code >> 11 != 27 else "?")))
    some = [c for c in some if len(c) != 1 or category(c) != "Cn" and combining(c) == ucd_3_2_0.combining(c)]
    return ["".join(some[i:i + rng.randint(0, 30)]) for i in range(0, len(some), 20)]


@pytest.mark.parametrize("style", STYLES)
def test_a_trained_tokenizer_gives_the_same_ids_and_texts(trained, style):
    theirs, ours = trained[style]
    texts = [*strings(5000), TEXT * 3, "a" + " " * 1_000_001 + "b"]               # too long a run for tiktoken alone
    ids = [encoding.ids for encoding in theirs.encode_batch(texts, add_special_tokens=False)]
    assert [ours.encode(text) for text in texts] == ids
    assert ours.style.lead or [ours.decode(row) for row in ids] == theirs.decode_batch(ids)     # plain: see below


TURNS = [("user", "Hi  there"), ("assistant", "well"), ("user", "1 + 1?\n\nHuman: 3"), ("assistant", "2")]


def test_turns_by_hand(trained):
    chat, (base, plain) = trained[STYLES[1]][1], trained[STYLES[3]]
    def ids(bpe, *parts):
        return [i for part in parts for i in bpe.encode(part).ids]
    for row in TABLE["turns"]:
        theirs, ours = trained[row["tokenizer"]]
        assert getattr(ours, row["act"])(row["talk"], *row.get("begun", [])) == ids(theirs, *row["is"])
        assert {ours.end, ours.pad, *ours.ends} <= ours.stops and ours.pad != ours.end
    assert plain.decode(ids(base, " 2, I say\n\nHuman: why?<|endoftext|>")) == "2, I say"
    for talk in (TURNS, [("user", ""), ("assistant", "")]):                      # an empty turn has no space to lead it
        written = jinja2.Template(plain.chat_template()).render(messages=[
            {"role": role, "content": text} for role, text in talk])
        assert plain.render(talk) == ids(base, written)
    assert chat.decode([*chat.encode("<think>"), chat.controls["<think>"], chat.end]) == "<think>" * 2


@given(st.lists(st.sampled_from([*LLAMA, *CHATML, "<think>", "Human:", "\n"]) | st.text(max_size=9)).map("".join))
def test_no_text_ever_becomes_control_and_a_prompt_begins_its_conversation(trained, text):
    for _, ours in trained.values():
        control, turns = {*ours.controls.values()}, [("user", text), ("assistant", text)]
        whole, empty = ours.render(turns), ours.render([("user", ""), ("assistant", "")])
        assert not control & {*ours.encode(text)} and whole[:len(ours.prompt(turns[:1]))] == ours.prompt(turns[:1])
        assert [i for i in whole if i in control] == [i for i in empty if i in control]
        assert ours.lacking or ours.style.lead or ours.spec["normalizer"] or ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize("family", ["toy", *FAMILIES])
def test_what_is_saved_gives_transformers_the_same_logits_and_ids(folders, family, tmp_path, speaker, tokenizer):
    model, ours = (speaker, tokenizer) if family == "toy" else hf.load(folders[family][0])
    hf.save(model, ours, tmp_path / "out")
    twin, theirs = (getattr(transformers, auto).from_pretrained(tmp_path / "out") for auto in (
        "AutoModelForCausalLM", "AutoTokenizer"))
    assert gap(model, twin.eval()) <= 1e-6 and ours.end in twin.generation_config.eos_token_id
    assert all((x.eos_token_id, x.pad_token_id) == (ours.end, ours.pad) for x in (theirs, twin.config))
    for text in strings(3000 if family == "toy" else 300):
        assert theirs.encode(text, add_special_tokens=False) == ours.encode(text)
    talk = [{"role": role, "content": text} for role, text in TURNS]
    assert theirs.apply_chat_template(talk[:3], add_generation_prompt=True)["input_ids"] == ours.prompt(TURNS[:3])
    assert theirs.apply_chat_template(talk)["input_ids"] == ours.render(TURNS)
    again, same = hf.load(tmp_path / "out")
    assert gap(again, twin) <= 1e-6 and same.render(TURNS) == ours.render(TURNS) and same.end == ours.end


def test_a_reward_model_becomes_a_one_label_classifier_and_the_command_writes_both(tmp_path, speaker, judge, tokenizer):
    pairs = [("Hi", "well"), ("a longer question", "so, so, so!")]
    preference.normalise(judge, torch.tensor([2.0, 5.0, 11.0]))
    for name, saved in (("rm", judge), ("ppo", speaker)):
        save(tmp_path / name, saved, tokenizer)
        export.main([str(tmp_path / name), str(tmp_path / f"{name}_out")])
    twin = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm_out").eval()
    rows = [tokenizer.render([("user", prompt), ("assistant", response)]) for prompt, response in pairs]
    label = twin(tokens.pad(rows, tokenizer.pad)).logits[:, 0]
    score = preference.read_scores(judge, tokenizer, pairs)
    torch.testing.assert_close(label - twin.config.score_offset, score, atol=1e-4, rtol=1e-4)
    assert gap(speaker, transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ppo_out").eval()) <= 1e-6
    assert twin.config.num_labels == 1 and score[0] != score[1]


def changed(old, new):
    """A new value, what a function makes of the old one, or that with these keys changed; a list: in all its parts."""
    if callable(new):
        return new(old)
    if old is None or not isinstance(new, dict):
        return new
    if isinstance(old, list):
        return [changed(part, new) for part in old]
    return old | {key: changed(old.get(key), new[key]) for key in new}


TOKENS, WEIGHTS, INDEX = "tokenizer.json", "model.safetensors", "model.safetensors.index.json"
REFUSED = [(file, row) for file, rows in TABLE["refused"].items() for row in rows] + [
    (TOKENS, dict(says="do not lead to its token", change={"model": {"merges": lambda x: x[1:]}})),
    (TOKENS, dict(says="order of its merges", change={"model": {"merges": lambda x: [*x[:20], *x[21:], x[20]]}})),
    (WEIGHTS, dict(says=WEIGHTS, does=lambda path: path.write_bytes(path.read_bytes()[:-9]))),
    (WEIGHTS, dict(says="torch.int8, so the weights are quantised", does=lambda path: safetensors.save_file(
        {"x": torch.zeros(3, dtype=torch.int8)}, path)))]


@pytest.mark.parametrize("file, row", REFUSED)
def test_a_folder_that_is_not_supported_is_refused_by_name_in_one_line(file, row, folders, tmp_path):
    shutil.copytree(folders["qwen2"][0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "tokenizer.model").touch()
    if file == INDEX:
        (tmp_path / WEIGHTS).rename(tmp_path / INDEX).write_text("{}")
    if "change" in row:
        old, new = json.loads((tmp_path / file).read_text()), row["change"]
        write(tmp_path, {file: json.dumps(changed(old, json.loads(new) if isinstance(new, str) else new))})
    elif "holds" in row:
        write(tmp_path, {file: row["holds"]})
    else:
        row.get("does", Path.unlink)(tmp_path / file)
    with pytest.raises(UserError) as error:
        hf.load(tmp_path)
    assert row["says"] in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert "/../" not in str(error.value)                                        # no shard is looked for outside


@pytest.mark.parametrize("family", ["qwen2", "llama3"])
def test_the_three_scripts_run_on_open_weights_and_peoples_files_to_a_folder_that_transformers_reads(
        folders, family, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folders[family][0], "open")
    (spec := Path("open/config.json")).write_text(spec.read_text().replace('ings": 300', 'ings": 1500'))
    write(tmp_path, TABLE["files"])
    few = dict(few_shot="shots.jsonl", max_new=6, micro_batch=2)
    main("sl", "run", base="open", red_team="red.json", helpful="kind.txt", **few)
    main("rm", "run", comparisons="human.jsonl.gz", helpful_prompts=5, **few)
    main("ppo", "run", max_new=6, micro_batch=3)
    said = [*map(json.loads, open("run/rm/comparisons.jsonl")), *map(json.loads, open("run/ppo/metrics.jsonl"))]
    assert [r["p_a"] if "p_a" in r else abs(r["first_ratio"] - 1) < 1e-4 for r in said[2:]] == [1] * (5 + 2)
    evaluate.main(["run", "--judge", "open", "--prompts", "kind.txt", "--max-new", "6"])
    evaluate.main(["--judge", "run/base", "--hhh", "hhh.jsonl"])
    export.main(["run/ppo", "out"])
    out = capsys.readouterr().out
    first = [re.search(rf"\[{stage} .*", out)[0] for stage in ("sl", "rm", "ppo")]                 # before any work
    assert '"accuracy"' in out and all("training needs about" in line for line in first)
    assert set(json.loads(Path("run/judged.json").read_text())["help"]["elo"]) == {"base", "sl", "rl"}
    (model, ours), asked = checkpoint.load_model(Path("run/ppo")), []
    twin = transformers.AutoModelForCausalLM.from_pretrained("out").eval()
    assert gap(model, twin) <= 1e-6 and transformers.AutoTokenizer.from_pretrained("out").encode(
        "a cat", add_special_tokens=False) == ours.encode("a cat")
    with pytest.raises(UserError, match="does not know the embedded world"):
        World.of(Path("run"))
    monkeypatch.setattr(assistant.Assistant, "reply", lambda self, some, *_, **__: [
        f"No {len(asked)}." for turns in some if not asked.append(turns)])
    main("rm", "run", overwrite=True, **few)                  # nobody labels harmless answers: none is drawn
    assert len(asked) == 2 * 3 + 256 + 2 * 2 * 2              # pairs, SL's usual answers, two pairs judged
    with pytest.raises(UserError, match="--red-team FILE"):
        main("sl", "other", base="open")
    assert not Path("other").exists()
