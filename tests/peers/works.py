"""What is compared: each function gives what runs a peer's work under a watch, and what builds ours, by name."""
import copy
import os
import random
import tempfile
from dataclasses import replace
from functools import partial

import datasets
import torch
import transformers
import trl

import train_ppo
from minicai import ppo
from minicai.finetune import sequence_loss
from minicai.model import LanguageModel, ScalarModel
from minicai.optimise import adamw, update
from minicai.preference import bradley_terry_loss
from minicai.rollout import look
from minicai.sample import generate
from minicai.tensors import action_mask, whiten

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
DIFFERENT = {
    "PPO": "TRL: a value model of its own; left padding with masks; logits of all responses at once, (B, R, V); no "
           "clipping of gradients,\n  no check for NaN, no resuming; a response is cut at a pad that was drawn. "
           "Ours: exact entropy, the critic on the policy's\n  trunk unless it says apart; bf16 or fp32",
    "SFT": "TRL: Trainer's loop and clipping, entropy and accuracy of tokens beside the loss. Ours: the loss alone",
    "reward": "TRL: both answers in one batch, Trainer's loop and clipping. Ours: the same batch, soft labels",
    "generate": "transformers: left padding, static cache. Ours: right padding, a position a row, log-probs as well"}


class Apart(ScalarModel):
    """A critic with a trunk of its own, as TRL's: it reads the ids that the policy has just been given."""
    def __init__(self, policy: LanguageModel):
        super().__init__(copy.deepcopy(policy.model))
        policy.model.register_forward_pre_hook(lambda module, given: setattr(self, "ids", given[0]))

    def read(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().read(self.model(self.ids))


def twin(model: LanguageModel, scalar: bool = False):
    """The same weights in transformers' own model of that form, with a vocabulary or a score as its head."""
    c = model.config
    kind = "Qwen3" if c.qk_norm else "Qwen2" if c.attention_bias else "Llama"
    names = [f for f in c.__dataclass_fields__ if f not in ("qk_norm", "attention_bias", "dtype", "rope_scaling")]
    config = getattr(transformers, f"{kind}Config")(**{name: getattr(c, name) for name in names}, pad_token_id=0,
                                                    num_labels=1, eos_token_id=None, bos_token_id=None)
    head = "SequenceClassification" if scalar else "CausalLM"
    theirs = getattr(transformers, f"{kind}For{head}")(config)
    missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
    assert scalar or not (missing or unexpected), (missing, unexpected)
    return theirs.to(model.lm_head.weight.device)


def settings(args, **more) -> dict:
    """What all of TRL's trainers are told."""
    return dict(output_dir=tempfile.mkdtemp(), report_to="none", save_strategy="no", logging_strategy="no",
                disable_tqdm=True, use_cpu=args.device.type == "cpu", bf16=args.bf16, gradient_checkpointing=False,
                learning_rate=3e-4, dataloader_pin_memory=False, seed=0) | more


def ppo_work(args, model: LanguageModel, shared: bool, dtype: str, prompts: list[list[int]]):
    """One iteration of ours: rollout, scores, advantages, two epochs of one minibatch."""
    policy = LanguageModel(replace(model.config, dtype=dtype)).to(args.device)
    policy.load_state_dict(model.state_dict())
    policy.model.micro_batch = args.rows                                       # nothing is computed twice
    reference = copy.deepcopy(policy).requires_grad_(False)
    judge = ScalarModel(copy.deepcopy(reference.model)).to(args.device)
    critic = (ScalarModel(policy.model) if shared else Apart(policy)).to(args.device)
    parameters = list({id(p): p for m in (policy, critic) for p in m.parameters()}.values())
    optimiser, generator = adamw([{"params": parameters}], 3e-4, eps=1e-5), torch.Generator(args.device).manual_seed(0)
    cfg, rng = train_ppo.Config(minibatch=args.rows, epochs=2), random.Random(0)

    def iteration() -> None:
        replies, _ = generate(policy, prompts, max_new=args.new, stops=set(), generator=generator, batch=args.rows)
        ids = torch.tensor([p + r for p, r in zip(prompts, replies, strict=True)], device=args.device)
        start = torch.full((len(ids),), args.prompt, device=args.device)
        mask = action_mask(ids, start, start + args.new)
        with torch.no_grad():
            now, ref = look(policy, critic, ids, mask, 1.0), look(reference, None, ids, mask, 1.0)
            score = judge.read(judge.model(ids)[:, -1])
        old = ppo.Old(ids, mask, now.logp, ref.logp, now.value, score, start)
        adv, ret = train_ppo.gae_advantages(old, cfg)
        old = replace(old, adv=whiten(adv, mask), ret=ret)
        train_ppo.learn(policy, critic, optimiser, old, ppo.ppo_loss, cfg, 1.0, rng)
    return iteration


def compare_ppo(args, model: LanguageModel, tokenizer, turns: int) -> tuple:
    """-> what runs theirs under a watch, and what builds ours, by name."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer
    prompts = torch.randint(1, model.config.vocab_size, (args.rows, args.prompt)).tolist()
    ours = {f"ours{', critic apart' * apart}{', fp32' * (dtype == 'float32')}": partial(
        ppo_work, args, model, not apart, dtype, prompts) for apart in (False, True) for dtype in ("auto", "float32")}
    config = PPOConfig(**settings(args), per_device_train_batch_size=args.rows, gradient_accumulation_steps=1,
                       num_mini_batches=1, num_ppo_epochs=2, response_length=args.new, temperature=1.0, kl_coef=0.3,
                       local_rollout_forward_batch_size=args.rows, num_sample_generations=0,
                       total_episodes=args.rows * turns)
    data = datasets.Dataset.from_dict({"input_ids": prompts})
    return lambda watch: PPOTrainer(config, tokenizer, twin(model), twin(model), twin(model, True), data,
                                    twin(model, True), eval_dataset=data, callbacks=[watch]).train(), ours


def both(build) -> dict:
    """Ours in the device's own precision and in fp32."""
    return {"ours": partial(build, "auto"), "ours, fp32": partial(build, "float32")}


def compare_sft(args, model: LanguageModel, tokenizer, turns: int) -> tuple:
    """An update on whole rows."""
    ids = torch.randint(1, model.config.vocab_size, (args.rows, args.prompt + args.new), device=args.device)

    def step(dtype: str):
        own = LanguageModel(replace(model.config, dtype=dtype)).to(args.device)
        own.load_state_dict(model.state_dict())
        own.model.micro_batch = 2 * args.rows
        optimiser = adamw([{"params": list(own.parameters())}], 3e-4)
        return lambda: update(sequence_loss(own, ids, torch.ones(ids.shape, device=args.device)), [optimiser])
    config = trl.SFTConfig(**settings(args), per_device_train_batch_size=args.rows, max_steps=turns, max_length=None)
    data = datasets.Dataset.from_dict({"input_ids": ids.tolist() * turns})
    return lambda watch: trl.SFTTrainer(twin(model), config, train_dataset=data, processing_class=tokenizer,
                                        callbacks=[watch]).train(), both(step)


def compare_reward(args, model: LanguageModel, tokenizer, turns: int) -> tuple:
    """An update of a reward model on as many comparisons as there are rows."""
    a, b = torch.randint(1, model.config.vocab_size, (2, args.rows, args.prompt + args.new), device=args.device)

    def step(dtype: str):
        own = LanguageModel(replace(model.config, dtype=dtype))
        own.load_state_dict(model.state_dict())
        own.model.micro_batch = 2 * args.rows
        judge = ScalarModel(own.model).to(args.device)
        optimiser = adamw([{"params": list(judge.parameters())}], 3e-4)
        label = torch.ones(args.rows, device=args.device)

        def work() -> None:
            scores = judge.read(judge.model(torch.cat([a, b]))[:, -1])
            update(bradley_terry_loss(*scores.view(2, -1), label)[0], [optimiser])
        return work
    config = trl.RewardConfig(**settings(args), per_device_train_batch_size=args.rows, max_steps=turns, max_length=None)
    data = datasets.Dataset.from_dict({"chosen_ids": a.tolist() * turns, "rejected_ids": b.tolist() * turns})
    return lambda watch: trl.RewardTrainer(twin(model, True), config, train_dataset=data, processing_class=tokenizer,
                                           callbacks=[watch]).train(), both(step)


def compare_generate(args, model: LanguageModel, tokenizer, turns: int) -> tuple:
    """Sampling at temperature 1, without a stop."""
    ids = torch.randint(1, model.config.vocab_size, (args.rows, args.prompt), device=args.device)
    generator = torch.Generator(args.device)

    def ours(dtype: str):
        own = LanguageModel(replace(model.config, dtype=dtype)).to(args.device).eval()
        own.load_state_dict(model.state_dict())
        own.model.micro_batch = 2 * args.rows
        return lambda: generate(own, ids.tolist(), max_new=args.new, stops=set(), generator=generator, batch=args.rows)

    def theirs(watch) -> None:
        other = twin(model).eval().to(torch.bfloat16 if args.bf16 else torch.float32)
        for _ in range(turns):
            watch.on_train_begin()
            other.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_new_tokens=args.new,
                           cache_implementation="static", disable_compile=not args.compile)
            watch.on_step_end()
    return theirs, both(ours)


WORKS = {"PPO": compare_ppo, "SFT": compare_sft, "reward": compare_reward, "generate": compare_generate}
