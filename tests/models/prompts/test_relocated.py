# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""PRO-VPT's prompts and policy against figures of the authors' code."""

import copy
import math

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.prompts import RelocatedPrompt
from mmvpt.models.prompts.relocated import AllocationPolicy
from tests.models.golden import assert_golden, golden_backbone, load_golden
from tests.models.naive import naive_forward
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('provpt_golden')
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8)


def build(variant='sup'):
    return golden_backbone(
        GOLDEN,
        prompt=dict(type='RelocatedPrompt', num_tokens=4),
        pooling='cls' if variant == 'sup' else 'prompts_and_patches',
        norm_before_pool=variant == 'sup',
    )


def moved():
    """Return our rows in the order of the authors' lists, after the moves."""
    lists = [list(range(4 * i, 4 * i + 4)) for i in range(3)]
    for source, place, target in GOLDEN['meta']['moves']:
        if source != target:
            lists[target].append(lists[source].pop(place))
    return lists


@pytest.mark.parametrize('variant', ['sup', 'mae'])
def test_golden_features_and_gradients(variant):
    vit, lists = build(variant), moved()
    order = torch.tensor(sum(lists, []))
    prompt = vit.prompt
    for layer, rows in enumerate(lists):
        prompt.layer_of[rows] = layer
    prompt.load_state_dict(prompt.state_dict())  # lists are those of the buffer
    prompt.tokens.data[order] = GOLDEN['prompt/tokens']
    assert prompt.counts().tolist() == GOLDEN['prompt/counts'].tolist()
    assert 0 in prompt.counts()

    def released(values, name):
        expected = torch.empty(12, 32).double()
        expected[order] = values('tokens')
        return expected

    assert_golden(GOLDEN, variant, vit, released)
    feature = vit(GOLDEN['images'])[0]
    (grad,) = torch.autograd.grad(feature.square().sum(), prompt.tokens)
    gates = GOLDEN[f'{variant}/grad/gates']
    torch.testing.assert_close(prompt.idleness(grad)[order], gates, rtol=1e-9, atol=0)


def test_golden_moves():
    """With each of the five moves, one of which stays."""
    prompt = build().prompt
    places = torch.arange(12).double()[:, None] + 0.01 * torch.arange(32).double()
    prompt.tokens.data = places
    lists = [list(range(4 * i, 4 * i + 4)) for i in range(3)]
    for source, place, target in GOLDEN['meta']['moves']:
        row = lists[source][place]
        prompt.relocate(row, target)
        if source != target:
            lists[target].append(lists[source].pop(place))
    order = sum(lists, [])
    expected = GOLDEN['sup/after_moves']
    torch.testing.assert_close(prompt.tokens.data[order], expected, rtol=1e-15, atol=0)
    assert prompt.counts().tolist() == [len(rows) for rows in lists]


def test_even_prompts_are_vpt_deep_bit_for_bit():
    vit, deep = small('relocated'), small('deep')
    deep.prompt.tokens.data = vit.prompt.tokens.data.view(3, 3, 24)
    assert torch.equal(vit(images())[0], deep(images())[0])


@pytest.mark.parametrize('pooling', ['cls', 'prompts_and_patches'])
def test_moved_prompts_equal_the_plain_way_and_a_model_built_so(pooling):
    options = dict(pooling=pooling, norm_before_pool=False)
    vit = small('relocated', **options).double().eval()
    before = vit(images(dtype=torch.float64))[0]
    with torch.no_grad():  # static prompts are kept, and void after a move
        vit(images(dtype=torch.float64))
        for row in range(6, 9):
            vit.prompt.relocate(row, 0)  # the last layer is left without
        after = vit(images(dtype=torch.float64))[0]
    assert not torch.equal(before, after)
    naive = naive_forward(vit, images(dtype=torch.float64))[0]
    torch.testing.assert_close(after, naive, rtol=0, atol=1e-10)
    other = small('relocated', seed=1, **options).double().eval()
    other.load_state_dict(vit.state_dict())
    torch.testing.assert_close(other(images(dtype=torch.float64))[0], naive)
    twin = copy.deepcopy(vit)
    torch.testing.assert_close(twin(images(dtype=torch.float64))[0], naive)


def test_relocating():
    prompt = RelocatedPrompt(2, **HOST)
    before = prompt.tokens.detach().clone()
    prompt.relocate(0, 0)
    assert torch.equal(prompt.tokens, before)
    prompt.relocate(0, 2)
    assert prompt.layer_of.tolist() == [2, 0, 1, 1, 2, 2]
    torch.testing.assert_close(prompt.tokens[0], before[0] * 1e-3)
    assert torch.equal(prompt.tokens[1:], before[1:])
    assert set(prompt.state_dict()) == {'tokens', 'layer_of'}
    prompt.relocate(1, 2)
    assert prompt.eval()(0, torch.zeros(1, 16, 24), (4, 4)) is None
    prompt.relocate(0, 0)
    assert prompt.counts().tolist() == [1, 2, 3]
    state = dict(prompt.state_dict(), layer_of=torch.full((6,), 3))
    with pytest.raises(UserError, match='layers that this ViT of 3 layers'):
        prompt.load_state_dict(state)


def test_a_score_is_what_pruning_gains():
    vit = small('relocated').double().eval()
    x = images(dtype=torch.float64)

    def loss():
        return vit(x)[0].square().sum()

    start = loss()
    (grad,) = torch.autograd.grad(start, vit.prompt.tokens)
    scores = vit.prompt.idleness(grad)
    for row in (0, 4, 8):
        whole = vit.prompt.tokens.data[row].clone()
        vit.prompt.tokens.data[row] *= 1 - 1e-6
        vit.static_prompts.clear()
        gain = (start - loss()).item() / 1e-6
        vit.prompt.tokens.data[row] = whole
        assert gain == pytest.approx(scores[row].item(), rel=1e-3, abs=1e-6)


def policy():
    net = AllocationPolicy(3).double()
    begin = 'ppo/init/'
    state = {k[len(begin) :]: v for k, v in GOLDEN.items() if k.startswith(begin)}
    net.load_state_dict(state)
    return net


def test_golden_policy_update():
    net, e = policy(), 3
    given = [
        GOLDEN[f'ppo/{name}_{e}']
        for name in ('contexts', 'actions', 'logprobs', 'values', 'rewards')
    ]
    for i, context in enumerate(given[0]):
        odds = net.probabilities(context)
        expected = GOLDEN[f'trace/probabilities_{i + 1}']
        torch.testing.assert_close(odds, expected, rtol=1e-12, atol=0)
        assert float(odds[given[1][i]].log()) == pytest.approx(float(given[2][i]))
        assert float(net.value(context)) == pytest.approx(float(given[3][i]))
    loss = net.update(*given)
    torch.testing.assert_close(loss, GOLDEN[f'ppo/loss_{e}'], rtol=1e-9, atol=1e-12)
    for name, value in net.state_dict().items():
        expected = GOLDEN[f'ppo/after_{e}/{name}']
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)


def test_two_rewards_say_the_sign_of_the_first():
    """The last reward of an update always cancels; more leave more than a sign."""
    ends = []
    for rewards in ([0.3, -5], [30, 7], [-0.3, 7], [0.3, -5, 1], [0.3, 5, 9]):
        torch.manual_seed(0)
        net, n = policy(), len(rewards)
        contexts = torch.randn(n, 9, generator=torch.Generator().manual_seed(1))
        log_probs = torch.full((n,), math.log(1 / 3)).double()
        values = torch.linspace(-0.1, 0.1, n).double()
        given = (contexts.double(), torch.arange(n), log_probs, values)
        net.update(*given, torch.tensor(rewards).double())
        ends.append(net.actor[0].weight.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-6)
    assert (ends[0] - ends[2]).abs().max() > 1e-3
    assert (ends[3] - ends[4]).abs().max() > 1e-3


def test_context_literally():
    scores, counts = torch.tensor([1.0, 2, 6]).double(), torch.tensor([0, 5, 7])
    got = AllocationPolicy(3).double().context(scores, counts, 1)
    spread = math.sqrt((4 + 1 + 9) / 3)
    expected = [-2 / spread, -1 / spread, 3 / spread, 0, 4 / 11, 7 / 11, 0, 1, 0]
    torch.testing.assert_close(got, torch.tensor(expected).double())


def test_start_counts_and_refusals():
    prompt = RelocatedPrompt(20, **dict(HOST, embed_dims=768, num_layers=12))
    assert sum(p.numel() for p in prompt.parameters()) == 12 * 20 * 768
    assert prompt.counts().tolist() == [20] * 12
    bound = (6 / (3 * 64 + 768)) ** 0.5
    assert 0.99 * bound < prompt.tokens.abs().max() <= bound
    with pytest.raises(UserError, match='the ViT has one. Use DeepPrompt'):
        RelocatedPrompt(2, **dict(HOST, num_layers=1))
    with pytest.raises(ValueError, match='num_tokens must be'):
        RelocatedPrompt(0, **HOST)
    net = AllocationPolicy(12)
    assert sum(p.numel() for p in net.actor.parameters()) == 7_308
    assert sum(p.numel() for p in net.critic.parameters()) == 6_593
