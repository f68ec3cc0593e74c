"""The training loop: transformers' Trainer with a faster head, resting layers, a budget of time and an early stop.

Knows models, examples and the clock. Knows nothing of documents or labels: how good a model is, it is told.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgewise.learning.training.heads import head_of
from edgewise.learning.training.recipe import BATCH, Plan, Recipe

Report = Callable[[float], None]

WARM_UP = 0.1  # of all steps
LOOKS = 10  # how often progress is looked at
MEASURED = 10  # steps before the clock is believed
OVER = "the time was over"


@dataclass(slots=True)
class Pace:
    """How many steps there will be: as planned, or as many as fit into the time; and why it was not all of them.

    ends_at: on the monotonic clock, or infinity.
    """

    planned: int
    ends_at: float
    steps: int = 0
    note: str = ""
    first: float = 0.0  # when the first step was done: what came before is no measure

    def __post_init__(self) -> None:
        self.steps = self.planned

    def factor(self, step: int) -> float:
        """Of the learning rate: up for a tenth of the steps, then evenly down to 0."""
        warm_up = int(WARM_UP * self.steps)
        if step < warm_up:
            return step / max(1, warm_up)
        return max(0.0, (self.steps - step) / max(1, self.steps - warm_up))

    def after(self, step: int) -> None:
        """Look at the clock after a step, and see how many would fit."""
        now = time.monotonic()
        if step == 1:
            self.first = now
        if now >= self.ends_at:
            self.steps, self.note = step, OVER
        elif step > MEASURED and math.isfinite(self.ends_at):
            fit = step + int((self.ends_at - now) * (step - 1) / max(now - self.first, 1e-9))
            self.steps = min(self.planned, fit)
            self.note = OVER if fit < self.planned else ""

    def stop(self, step: int, why: str) -> None:
        """End the training after this step."""
        self.planned, self.steps, self.note = step, step, why


def fine_tune(
    model: Any,
    examples: list[dict[str, Any]],
    how: tuple[Plan, Recipe, Any],
    watch: Callable[[], float] | None,
    run: tuple[Path, Pace, Report],
) -> None:
    """Train the model in place. how: plan, recipe and tokenizer. watch: how good the model is now, higher is better.

    run: a folder for the Trainer, which leaves nothing there; the pace, which knows afterwards what was done.
    """
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback

    plan, recipe, tokenizer = how
    folder, pace, report = run
    looking = [_looking(model, watch, plan, pace)] if watch is not None and plan.patience is not None else []
    trainer = Trainer(
        model=model,
        args=_arguments(folder, plan.steps, recipe.seed),
        train_dataset=examples,
        data_collator=_collator(model, tokenizer),
        processing_class=tokenizer,
        optimizers=optimizers(model, plan, recipe.weight_decay, pace),
        callbacks=[*looking, _reporting(report, pace)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    for one in looking:
        one.restore()
    model.cpu()


def seconds_a_step(model: Any, examples: list[dict[str, Any]], tokenizer: Any) -> float:
    """How long a step of fine-tuning takes on this machine, by trying twice, on examples of the middle length."""
    import torch

    by_length = sorted(examples, key=lambda example: len(example["input_ids"]))
    middle = max(0, (len(examples) - BATCH) // 2)
    batch = _collator(model, tokenizer)(by_length[middle : middle + BATCH])
    took = []
    with torch.random.fork_rng():  # what is drawn for this must not change the training
        for _ in range(2):
            began = time.monotonic()
            model.train()(**batch).loss.backward()
            model.zero_grad(set_to_none=True)
            took.append(time.monotonic() - began)
    return min(took)


def _collator(model: Any, tokenizer: Any) -> Any:
    from transformers import DataCollatorForTokenClassification, DataCollatorWithPadding

    if type(model).__name__.endswith("ForTokenClassification"):
        return DataCollatorForTokenClassification(tokenizer)
    return DataCollatorWithPadding(tokenizer)


def _arguments(folder: Path, steps: int, seed: int) -> Any:
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        train_sampling_strategy="group_by_length",
        max_grad_norm=1.0,
        bf16=torch.cuda.is_bf16_supported() if on_gpu else _halves_are_fast(),
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        seed=seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


@lru_cache(maxsize=1)
def _halves_are_fast() -> bool:
    """Whether this processor multiplies in bf16 clearly faster than in 32 bits; F1 is the same.

    Measured, because flags mislead: of two processors with avx512_bf16 one was 2.5 times as fast, one half as fast.
    By this thread's own seconds, which neighbours hardly touch: weights depend on the answer, and it must not change.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = {torch.float32: math.inf, torch.bfloat16: math.inf}
    left, right = torch.ones(512, 384), torch.ones(384, 1536)
    for _ in range(16):
        for kind in best:
            a, b = left.to(kind), right.to(kind)
            began = time.thread_time()
            torch.mm(a, b)
            best[kind] = min(best[kind], time.thread_time() - began)
    torch.set_num_threads(threads)
    return best[torch.bfloat16] < 0.7 * best[torch.float32]


def optimizers(model: Any, plan: Plan, weight_decay: float, pace: Pace) -> tuple[Any, Any]:
    """AdamW with a faster head and resting layers; linear warm-up and decay."""
    import torch

    _rest(model, plan.resting)
    head = {id(parameter) for parameter in head_of(model, model.named_parameters()).values()}
    groups: dict[tuple[float, float], list[Any]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = plan.learning_rate * (plan.head_factor if id(parameter) in head else 1)
            decay = weight_decay if parameter.ndim > 1 else 0.0  # not for biases and norms
            groups.setdefault((rate, decay), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()], fused=True
    )
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, pace.factor)


def layers_of(model: Any) -> Any:
    """The layers of the encoder that can learn, from below."""
    from torch.nn import ModuleList

    stacks = [module for module in model.base_model.modules() if isinstance(module, ModuleList)]
    layers = max(stacks, key=len, default=ModuleList())
    return layers[: len(layers) - bool(getattr(model.config, "averages", False))]


def _rest(model: Any, resting: int | None) -> None:
    """Freeze the word embeddings, half of a small encoder of which few labels say little, and so many of the layers.

    Below the layers nothing may learn then, or the gradient would have to be carried through them.
    """
    if getattr(model.config, "averages", False):
        model.base_model.encoder.layer[-1].requires_grad_(False)
    if resting is None:
        return
    model.get_input_embeddings().requires_grad_(False)
    layers_of(model)[:resting].requires_grad_(False)
    below = getattr(model.base_model, "embeddings", None)
    if resting and below is not None:
        below.requires_grad_(False)


def _reporting(report: Report, pace: Pace) -> Any:
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        told = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            pace.after(state.global_step)
            self.told = max(self.told, min(1.0, state.global_step / pace.steps))
            report(self.told)
            if state.global_step >= pace.steps:
                control.should_training_stop = True

    return Reporting()


def _looking(model: Any, watch: Callable[[], float], plan: Plan, pace: Pace) -> Any:
    from transformers import TrainerCallback

    class Looking(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        best, since, kept = -math.inf, 0, dict[str, Any]()

        def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            self.look(0)  # a head taught from features may be better than all that follows

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step % max(1, plan.steps // LOOKS) == 0 or state.global_step >= pace.steps:
                self.look(state.global_step)

        def look(self, step: int) -> None:
            good = watch()
            model.train()
            if good > self.best:
                self.best, self.since = good, 0
                moving = ((name, one) for name, one in model.named_parameters() if one.requires_grad)
                self.kept = {name: one.detach().clone() for name, one in moving}
                return
            self.since += 1
            if self.since >= (plan.patience or 0) and step < pace.steps:
                pace.stop(step, "no more progress on validation texts")

        def restore(self) -> None:
            model.load_state_dict(self.kept, strict=False)

    return Looking()
