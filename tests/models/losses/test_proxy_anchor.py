# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""ProxyAnchorLoss against Eq. 4 of DA-VPT, written out slowly."""

import math

import pytest
import torch

from mmvpt.models.losses import ProxyAnchorLoss


def literal(x, proxies, targets, alpha, margin, scale, positives, kind):
    """Follow the formula, one exponential after the other."""

    def cosine(a, b):
        dot = sum(float(u) * float(v) for u, v in zip(a, b))
        return (
            dot
            / math.sqrt(sum(float(u) ** 2 for u in a))
            / math.sqrt(sum(float(v) ** 2 for v in b))
        )

    images, groups = range(len(x)), range(len(proxies))
    s = [[scale * cosine(x[i], proxies[k]) for k in groups] for i in images]

    def pull(i, k):
        return math.exp(-alpha * (s[i][k] - margin))

    def push(i, k):
        return math.exp(alpha * (s[i][k] + margin))

    y = targets.tolist()
    if kind == 'anchor':
        pulls = [
            math.log(1 + sum(pull(i, k) for i in images if y[i] == k)) for k in groups
        ]
        pushes = [
            math.log(1 + sum(push(i, k) for i in images if y[i] != k)) for k in groups
        ]
        present = len(set(y)) if positives == 'present' else len(proxies)
        return sum(pulls) / present + sum(pushes) / len(proxies)
    pulls = [math.log(1 + pull(i, y[i])) for i in images]
    pushes = [
        math.log(1 + sum(push(i, k) for k in groups if k != y[i])) for i in images
    ]
    return sum(pulls) / len(x) + sum(pushes) / len(x)


TARGETS = {
    'all proxies have positives': [0, 1, 2, 3, 0, 1],
    'some have none': [1, 1, 3, 3, 3, 1],
    'one class': [2, 2, 2, 2, 2, 2],
    'one image': [3],
}


@pytest.mark.parametrize('targets', TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize('positives', ['present', 'all'])
@pytest.mark.parametrize('kind', ['anchor', 'nca'])
def test_equals_the_formula(targets, positives, kind):
    generator = torch.Generator().manual_seed(len(targets))
    targets = torch.tensor(targets)
    for alpha, margin, scale in ((32, 0.1, 1.0), (8, 0.3, 5.0)):
        x = torch.randn(len(targets), 7, generator=generator).double()
        proxies = torch.randn(4, 7, generator=generator).double()
        options = dict(alpha=alpha, margin=margin, scale=scale)
        options.update(positives=positives, kind=kind)
        value = ProxyAnchorLoss(**options)(x, proxies, targets)
        expected = literal(x, proxies, targets, **options)
        assert value.shape == ()
        assert value.item() == pytest.approx(expected, abs=1e-10, rel=1e-12)


def test_means_of_exponentials():
    rows = [[0.3, -0.2], [0.1, 0.5], [0.4, 0.2]]
    cosines = torch.tensor(rows, dtype=torch.float64)
    loss = ProxyAnchorLoss(alpha=4, margin=0.1, reduce='mean')
    pulls = [(math.exp(-0.8) + math.exp(0.0)) / 2, math.exp(-0.4)]
    pushes = [math.exp(2.0), (math.exp(-0.4) + math.exp(2.4)) / 2]
    expected = sum(math.log(1 + value) for value in pulls + pushes) / 2
    value = loss.from_cosines(cosines, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('reduce', ['sum', 'mean'])
@pytest.mark.parametrize('kind', ['anchor', 'nca'])
def test_vectors_without_target_do_not_count(kind, reduce):
    x, proxies = torch.randn(5, 6).double(), torch.randn(4, 6).double()
    x.requires_grad_()
    targets = torch.tensor([0, -1, 2, -1, 2])
    loss = ProxyAnchorLoss(kind=kind, reduce=reduce)
    value, counted = loss(x, proxies, targets), targets >= 0
    torch.testing.assert_close(value, loss(x[counted], proxies, targets[counted]))
    nothing = loss(x, proxies, torch.full_like(targets, -1))
    nothing.backward()
    assert nothing.item() == 0 and x.grad.isfinite().all() and not x.grad.any()


@pytest.mark.parametrize('kind', ['anchor', 'nca'])
def test_gradients(kind):
    x = torch.randn(5, 6).double().requires_grad_()
    proxies = torch.randn(4, 6).double().requires_grad_()
    targets = torch.tensor([0, 0, 2, 2, 2])
    loss = ProxyAnchorLoss(alpha=4, kind=kind)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, targets), (x, proxies))


def test_no_overflow_and_no_nan_gradient():
    """Exponents of 32 * 60 overflow in every precision."""
    x = torch.randn(4, 8, requires_grad=True)
    proxies = torch.cat([x.detach(), -x.detach()])[:5].requires_grad_()
    targets = torch.tensor([4, 4, 4, 4])
    value = ProxyAnchorLoss(scale=60.0)(x, proxies, targets)
    value.backward()
    assert value.isfinite() and value > 1000
    assert x.grad.isfinite().all() and proxies.grad.isfinite().all()


def test_lengths_do_not_matter():
    x, proxies = torch.randn(5, 8).double(), torch.randn(3, 8).double()
    targets = torch.tensor([0, 1, 1, 2, 0])
    loss = ProxyAnchorLoss()
    scaled = loss(7 * x, proxies * torch.tensor([[0.1], [1], [9]]), targets)
    torch.testing.assert_close(scaled, loss(x, proxies, targets))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(positives='some'), "got 'some'"),
        (dict(kind='triplet'), "got 'triplet'"),
        (dict(reduce='max'), "got 'max'"),
        (dict(alpha=0), 'alpha and scale must be positive, got 0'),
        (dict(scale=0.0), 'at 0 the loss is a constant'),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ProxyAnchorLoss(**options)
