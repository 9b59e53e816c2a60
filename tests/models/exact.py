# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether two ways of computing give the same, gradients included."""

import torch


def assert_same(vit, fast, plain):
    """Compare outputs to 1e-10 and gradients of all that trains to 1e-8.

    Args:
        vit: What both were computed with.
        fast: Its outputs, or other tensors with a gradient.
        plain: The same tensors, from another way.
    """
    assert len(fast) == len(plain)
    tuned = {n: p for n, p in vit.named_parameters() if p.requires_grad}
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(y.shape, generator=generator).to(y) for y in plain]
    grads = []
    for outs in (fast, plain):
        loss = sum((w * y).sum() for w, y in zip(weights, outs))
        grads.append(torch.autograd.grad(loss, list(tuned.values()), allow_unused=True))
    for a, b in zip(fast, plain):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    top = max(float(g.abs().max()) for g in grads[1] if g is not None)
    assert top > 0
    for name, a, b in zip(tuned, *grads):
        assert (a is None) == (b is None), name
        if b is None:
            continue
        # The gradient of a key bias is rounding noise around zero: hence `top`.
        atol = 1e-10 * float(b.abs().max()) + 1e-13 * top
        torch.testing.assert_close(
            a, b, rtol=1e-8, atol=atol, msg=lambda text, name=name: f'{name}: {text}'
        )


def drawn(way, *args):
    """Call with the random draws that every call gets."""
    torch.manual_seed(0)
    return way(*args)
