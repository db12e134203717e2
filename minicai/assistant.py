"""A model one can talk to in words: conversations -> replies, and how likely given words are as the next reply."""
from dataclasses import dataclass

import torch

from minicai import sample, tensors, tokens
from minicai.model import LanguageModel


@dataclass(slots=True)
class Assistant:
    model: LanguageModel
    tokenizer: tokens.Tokenizer
    generator: torch.Generator
    temperature: float = 1.0
    max_new: int = 80
    batch: int = 256

    def reply(self, conversations: list[list[tokens.Turn]], temperature: float | None = None) -> list[str]:
        """What the assistant says next in each conversation; control tokens are cut off. temperature None: its own."""
        prompts = [self.tokenizer.prompt(turns) for turns in conversations]
        replies, _ = sample.generate(self.model, prompts, max_new=self.max_new, stops=self.tokenizer.stops,
                                     batch=self.batch, generator=self.generator,
                                     temperature=self.temperature if temperature is None else temperature)
        return [self.tokenizer.decode(ids) for ids in replies]

    @torch.no_grad()
    def logp(self, conversations: list[list[tokens.Turn]], begun: list[str], endings: list[str]) -> torch.Tensor:
        """log P(ending | conversation, begun) of whole strings by teacher forcing, all three lists aligned: (N,)."""
        given = [self.tokenizer.prompt(turns, start) for turns, start in zip(conversations, begun, strict=True)]
        rows = [ids + self.tokenizer.encode(end) for ids, end in zip(given, endings, strict=True)]
        order, out = sorted(range(len(rows)), key=lambda i: len(rows[i])), torch.empty(len(rows))
        device = self.generator.device
        for some in (order[i:i + self.batch] for i in range(0, len(order), self.batch)):
            ids = tokens.pad([rows[i] for i in some], self.tokenizer.pad).to(device)
            mask = tensors.action_mask(ids, *torch.tensor([[len(given[i]), len(rows[i])] for i in some]).T.to(device))
            logp = self.model.predict(self.model.model(ids), mask, tensors.shift(ids), tensors.target_logp)
            out[some] = torch.zeros(mask.shape, device=device).masked_scatter(mask, logp).sum(1).cpu()
        return out
