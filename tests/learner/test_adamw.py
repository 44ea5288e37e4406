"""AdamW: torch's own optimizer to the bit, resumed to the bit, and without torch's compiler."""

import subprocess
import sys

import torch

from learner.adamw import AdamW
from learner.neural import BETAS, WEIGHT_DECAY

SHAPES = {"weight": (3, 5), "bias": (5,)}


def parameters() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator).requires_grad_() for name, shape in SHAPES.items()}


def draw_gradients(of: dict[str, torch.Tensor], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in of.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_steps_are_those_of_torchs_optimizer() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = AdamW(ours, weight_decay=WEIGHT_DECAY, betas=BETAS)
    reference = torch.optim.AdamW(theirs.values(), weight_decay=WEIGHT_DECAY, betas=BETAS, fused=True)
    for step in range(20):
        draw_gradients(ours, step)
        draw_gradients(theirs, step)
        optimizer.step(rate := 0.01 / (step + 1))
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        assert all(torch.equal(ours[name], theirs[name]) for name in SHAPES)


def test_a_resumed_optimizer_takes_the_steps_that_it_would_have_taken() -> None:
    straight, resumed = parameters(), parameters()
    first, second, third = (
        AdamW(of, weight_decay=WEIGHT_DECAY, betas=BETAS) for of in (straight, resumed, resumed)
    )
    for step in range(10):
        draw_gradients(straight, step)
        first.step(0.01)
        draw_gradients(resumed, step)
        (second if step < 5 else third).step(0.01)
        if step == 4:
            third.restore({name: tensor.clone() for name, tensor in second.tensors().items()})
    assert all(torch.equal(straight[name], resumed[name]) for name in SHAPES)


def test_restored_from_nothing_it_begins_anew() -> None:
    used, fresh = parameters(), parameters()
    optimizer, reference = (AdamW(of, weight_decay=WEIGHT_DECAY, betas=BETAS) for of in (used, fresh))
    draw_gradients(used, 7)
    optimizer.step(0.0)
    optimizer.restore({})
    for of, steps in ((used, optimizer), (fresh, reference)):
        draw_gradients(of, 8)
        steps.step(0.01)
    assert all(torch.equal(used[name], fresh[name]) for name in SHAPES)


def test_a_step_does_not_import_torchs_compiler() -> None:
    script = (
        "import sys, torch; from learner.adamw import AdamW; p = torch.zeros(3, requires_grad=True);"
        "o = AdamW({'p': p}, weight_decay=0.0, betas=(0.9, 0.9)); p.grad = torch.ones(3); o.step(0.1);"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
