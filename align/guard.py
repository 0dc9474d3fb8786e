"""Watches a policy in training on held-out prompts, leads it back when it collapses, and keeps the surest checkpoint.

A reward model that is optimised against is soon believed beyond what it knows. So a checkpoint counts by the lower
bound of its improvement over the SFT model, within budgets of divergence, length, endings and repetition.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from align.generate import Completion, generate
from annotate.messages import Messages
from annotate.progress import Progress

logger = logging.getLogger(__name__)

SAMPLES = 2
"""Responses to each held-out prompt."""
SURENESS = 1.0
"""Standard deviations of the reward model taken off an improvement."""
BREVITY = 1.5
"""Power of the length budget by which responses may shrink: brevity can be what people want, silence is not."""
RETURNS = 3
"""How often a policy that collapses goes on from its surest checkpoint, each time half as fast; then it stops."""


@dataclass(frozen=True)
class Look:
    """The policy at one step, on held-out prompts.

    reward, improvement, doubt: nats; improvement over the SFT model and its standard deviation. kl: nats a response.
    tokens: mean length. ended: share that ends in EOS. repeated: share of a response's trigrams that occurred before
    in it. told: what its own prompt adds to the log-probability of a response over another prompt, nats; near zero
    where all prompts get the same answer, and not where short right answers happen to coincide.
    """

    step: int
    reward: float
    improvement: float
    doubt: float
    kl: float
    tokens: float
    ended: float
    repeated: float
    told: float

    @property
    def sure(self) -> float:
        """Lower bound of the improvement."""
        return self.improvement - SURENESS * self.doubt

    def metrics(self) -> dict[str, float | int | str | None]:
        """For the ledger; the step is the one whose weights were kept."""
        return {"kept_step": self.step, **{key: value for key, value in asdict(self).items() if key != "step"}}


class Guard:
    """Looks at the policy every few steps; candidates and looks lie in `out` until `clear`."""

    def __init__(
        self,
        scorer: Any,
        reference: Any,
        tokenizer: Any,
        prompts: Sequence[Messages],
        out: Path,
        *,
        seed: int,
        max_new_tokens: int,
        max_prompt_tokens: int,
        kl_budget: float,
        length_budget: float,
        every: int,
        progress: Progress,
    ) -> None:
        self.scorer, self.reference, self.tokenizer = scorer, reference, tokenizer
        self.prompts, self.out, self.seed = list(prompts), out, seed
        self.max_new_tokens, self.max_prompt_tokens = max_new_tokens, max_prompt_tokens
        self.kl_budget, self.length_budget = kl_budget, length_budget
        self.every, self.progress = every, progress
        self.looks: list[Look] = []
        self.before: list[tuple[Messages, str]] = []
        self.spread = 1.0
        """Standard deviation of the SFT model's rewards on the held-out prompts, nats."""

    def start(self, step: int) -> None:
        """Look at the SFT model, and take up the looks that an earlier run made up to `step`."""
        answers = self._sample(self.reference)
        self.before = self._flat(answers)
        self.looks = [self._look(0, self.reference, answers)]
        path = self.out / "looks.json"
        if step and path.exists():
            earlier = [Look(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
            self.looks += [look for look in earlier if 0 < look.step <= step]

    def look(self, step: int, model: Any) -> Look:
        """Sample from the policy, judge it, and keep its weights as a candidate."""
        look = self._look(step, model, self._sample(model))
        self.looks = [*(one for one in self.looks if one.step < step), look]
        part = self.out / "looks.json.part"
        part.write_text(json.dumps([asdict(one) for one in self.looks]), encoding="utf-8")
        part.replace(self.out / "looks.json")
        if self.broken(look) is None:
            from safetensors.torch import save_file

            folder = self.out / "candidates"
            folder.mkdir(exist_ok=True)
            weights = {
                name: value.detach().cpu().clone() for name, value in model.named_parameters() if value.requires_grad
            }
            save_file(weights, str(folder / f"{step}.safetensors"))
        return look

    def broken(self, look: Look) -> str | None:
        """Why this look must not be kept, in words; None when it may."""
        first = self.looks[0]
        if look.kl > self.kl_budget:
            return (
                f"the policy lies {look.kl:.0f} nats from the SFT model, more than the budget of {self.kl_budget:.0f}"
            )
        if not first.tokens / self.length_budget**BREVITY <= look.tokens <= first.tokens * self.length_budget:
            return f"responses went from {first.tokens:.0f} to {look.tokens:.0f} tokens"
        if look.ended < first.ended - 0.1:
            return f"only {look.ended:.0%} of the responses end, {first.ended:.0%} did before"
        if look.repeated > first.repeated + 0.1:
            return f"{look.repeated:.0%} of the text is repetition, {first.repeated:.0%} was before"
        if look.told < 0.2 * first.told - 0.25:  # a quarter of a nat is noise where the SFT model tells nothing
            return f"answers are all alike: a prompt adds only {look.told:.1f} nats to its own, {first.told:.1f} before"
        return None

    def best(self) -> Look:
        """The look with the highest lower bound among those within the budgets; the SFT model where none improves."""
        return max((look for look in self.looks if self.broken(look) is None), key=lambda look: (look.sure, -look.step))

    def go_back(self, model: Any, optimizer: Any, scheduler: Any) -> None:
        """Restore the best look, halve the learning rate from here on, and drop what the optimizer was heading for.

        All of it lies in the trainer's own checkpoint, so a resumed run goes on alike.
        """
        self.restore(model)
        for group in optimizer.param_groups:
            group["lr"] /= 2
        scheduler.base_lrs = [rate / 2 for rate in scheduler.base_lrs]
        scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what the log shows
        for state in optimizer.state.values():
            if "exp_avg" in state:
                state["exp_avg"].zero_()

    def restore(self, model: Any) -> None:
        """Put the weights of the best look into the policy."""
        import torch
        from safetensors.torch import load_file

        step = self.best().step
        if step:
            weights = load_file(str(self.out / "candidates" / f"{step}.safetensors"))
        else:
            weights = dict(self.reference.named_parameters())
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name in weights:
                    value.copy_(weights[name])
                elif value.requires_grad and "lora_B" in name:
                    value.zero_()  # an adapter whose second factor is zero is the SFT model

    def warnings(self) -> list[str]:
        """What a person should know about this run."""
        found = []
        if self.best().step == 0:
            found.append("no checkpoint is surely better than the SFT model, so the policy is the SFT model")
        for look in self.looks:
            why = self.broken(look)
            if why:
                found.append(f"step {look.step}: {why}")
            if look.kl < -0.5:
                found.append(f"step {look.step}: KL is negative; sampling and training disagree on probabilities")
        return found

    def curves(self, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The trainer's log with the looks between its rows."""
        looks = [
            {"step": look.step, **{f"held_out_{key}": value for key, value in asdict(look).items() if key != "step"}}
            for look in self.looks
        ]
        return sorted([*history, *looks], key=lambda row: row.get("step", 0))

    def clear(self) -> None:
        """Remove candidates and looks; what matters of them stands in the metrics."""
        shutil.rmtree(self.out / "candidates", ignore_errors=True)
        (self.out / "looks.json").unlink(missing_ok=True)

    def callback(self) -> Any:
        """The trainer's callback: progress, curves, looks, the way back, and removal of candidates out of use."""
        from transformers import TrainerCallback

        from reward.training import write_curves

        guard = self

        class Watch(TrainerCallback):
            def on_step_end(
                self,
                args: Any,
                state: Any,
                control: Any,
                model: Any = None,
                optimizer: Any = None,
                lr_scheduler: Any = None,
                **rest: Any,
            ) -> None:
                guard.progress("aligning", state.global_step, state.max_steps)
                if state.global_step % guard.every == 0 or state.global_step == state.max_steps:
                    look = guard.look(state.global_step, model)
                    why = guard.broken(look)
                    if why is None or state.global_step == state.max_steps:
                        return
                    # Weights that are sharded over processes cannot be put back one by one.
                    sharded = args.deepspeed or args.fsdp
                    if sharded or sum(guard.broken(one) is not None for one in guard.looks) > RETURNS:
                        logger.warning("stopped at step %d: %s", look.step, why)
                        control.should_training_stop = True
                        return
                    guard.go_back(model, optimizer, lr_scheduler)
                    logger.warning("step %d: %s; back to step %d, half as fast", look.step, why, guard.best().step)

            def on_log(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                write_curves(guard.out / "metrics.jsonl", guard.curves(state.log_history))

            def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                # Only now, as a resumed run starts from this checkpoint, older candidates can no longer come back.
                kept = guard.best().step
                for path in (guard.out / "candidates").glob("*.safetensors"):
                    if path.stem != str(kept):
                        path.unlink()

        return Watch()

    def _sample(self, model: Any) -> list[list[Completion]]:
        return generate(
            model,
            self.tokenizer,
            self.prompts,
            n=SAMPLES,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            batch_size=256,
            max_prompt_tokens=self.max_prompt_tokens,
        )

    def _flat(self, answers: list[list[Completion]]) -> list[tuple[Messages, str]]:
        return [(prompt, answer.text) for prompt, row in zip(self.prompts, answers, strict=True) for answer in row]

    def _look(self, step: int, model: Any, answers: list[list[Completion]]) -> Look:
        flat = self._flat(answers)
        rows = [answer for row in answers for answer in row]
        mean, std = self.scorer.score([prompt for prompt, _ in flat], [text for _, text in flat])
        reward = float(np.mean(mean))
        if step == 0:
            improvement, doubt = 0.0, 0.0
            self.spread = max(float(np.std(mean)), 1e-6)
        elif hasattr(self.scorer, "improvement"):
            from reward.features import Item

            improvement, doubt = self.scorer.improvement(
                [Item(prompt, text) for prompt, text in self.before], [Item(prompt, text) for prompt, text in flat]
            )
        else:
            improvement, doubt = reward - self.looks[0].reward, float(np.mean(std))
        own = np.array([answer.logprob for answer in rows], dtype=float)
        elsewhere = self._logps(model, [*self.prompts[1:], *self.prompts[:1]], answers)
        return Look(
            step=step,
            reward=reward,
            improvement=improvement,
            doubt=doubt,
            kl=float(np.mean(own - self._logps(self.reference, self.prompts, answers))) if step else 0.0,
            tokens=float(np.mean([len(answer.token_ids) for answer in rows])),
            ended=float(np.mean([answer.finished for answer in rows])),
            repeated=float(np.mean([_repeated(answer.token_ids) for answer in rows])),
            told=float(np.mean(own - elsewhere)),
        )

    def _logps(self, model: Any, prompts: Sequence[Messages], answers: list[list[Completion]]) -> np.ndarray:
        """Log-probability of each response under a model, the i-th row's to the i-th prompt, shape (responses,)."""
        from reward.backbone import Encoded, encode_prompt
        from reward.hidden import forward

        sequences = [
            Encoded(encode_prompt(self.tokenizer, prompt, self.max_prompt_tokens), answer.token_ids)
            for prompt, row in zip(prompts, answers, strict=True)
            for answer in row
        ]
        was_training = model.training
        model.eval()
        logps, _ = forward(model, self.tokenizer, sequences, hidden=False)
        model.train(was_training)
        return np.array([logp_T.sum() for logp_T in logps])


def _repeated(ids: Sequence[int]) -> float:
    trigrams = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0
