# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""PRO-VPT's loop against figures of the authors' code, and as a training."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from mmvpt.checkpoint import read_checkpoint
from mmvpt.engine.forward import unwrapped
from mmvpt.engine.hooks import PromptRelocationHook
from mmvpt.errors import UserError
from tests.engine.miniature import config, write_data
from tests.models.golden import golden_backbone, load_golden

GOLDEN = load_golden('provpt_golden')


class Classifier(nn.Module):
    """The golden ViT with the head of the authors' code."""

    def __init__(self):
        super().__init__()
        self.backbone = golden_backbone(
            GOLDEN, prompt=dict(type='RelocatedPrompt', num_tokens=4, drop_rate=0)
        )
        self.fc = nn.Linear(32, 5).double()

    def data_preprocessor(self, data, training):
        assert training
        return data

    def forward(self, inputs, labels, mode):
        return dict(loss=F.cross_entropy(self.fc(self.backbone(inputs)[0]), labels))

    def parse_losses(self, losses):
        return losses['loss'], {}


def batches(model=None):
    sizes = GOLDEN['trace/batch_sizes'].tolist()
    images, labels = (GOLDEN[f'trace/{n}'].split(sizes) for n in ('images', 'labels'))
    return [dict(inputs=x, labels=y) for x, y in zip(images, labels)]


def as_runner(model, epoch=0):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    return SimpleNamespace(
        model=model, epoch=epoch, train_dataloader=batches(), optim_wrapper=wrapper
    )


def test_golden_loop(monkeypatch):
    model = Classifier().train()
    prompt = model.backbone.prompt
    hook = PromptRelocationHook(update_every=2, clip_scores=0.25, reward='released')
    hook.setup(model, seed=0)
    begin = 'ppo/init/'
    hook.policy.load_state_dict(
        {k[len(begin) :]: v for k, v in GOLDEN.items() if k.startswith(begin)}
    )
    updates, drawn = [], []
    update = hook.policy.update
    monkeypatch.setattr(
        hook.policy, 'update', lambda *a: updates.append((a, update(*a)))
    )

    def draw(odds, epoch):
        drawn.append(odds)
        return int(GOLDEN[f'trace/move_{epoch}'][2])

    monkeypatch.setattr(hook, 'draw', draw)
    close = dict(rtol=1e-8, atol=1e-10)
    lists = [list(range(4 * i, 4 * i + 4)) for i in range(3)]
    for e in range(GOLDEN['meta']['epochs']):
        order = torch.tensor(sum(lists, []))
        assert prompt.counts().tolist() == GOLDEN[f'trace/counts_{e}'].tolist()
        prompt.tokens.data[order] = GOLDEN[f'trace/tokens_{e}']
        model.fc.weight.data = GOLDEN[f'trace/head_weight_{e}']
        model.fc.bias.data = GOLDEN[f'trace/head_bias_{e}']
        scores, loss = hook.score(as_runner(model, e))
        torch.testing.assert_close(scores[order], GOLDEN[f'trace/scores_{e}'], **close)
        parts = GOLDEN[f'trace/losses_{e}'] / GOLDEN['trace/batch_sizes']
        assert loss == pytest.approx(float(parts.sum()), rel=1e-9)
        if e < hook.begin:
            continue
        hook.step(scores, loss, e)
        source, place, target = GOLDEN[f'trace/move_{e}'].tolist()
        last = hook._steps[-1]
        torch.testing.assert_close(
            last['context'], GOLDEN[f'trace/context_{e}'], **close
        )
        torch.testing.assert_close(
            drawn[-1], GOLDEN[f'trace/probabilities_{e}'], **close
        )
        for name, key in (('log_prob', 'logprob'), ('value', 'value')):
            expected = float(GOLDEN[f'trace/{key}_{e}'])
            assert last[name] == pytest.approx(expected, rel=1e-7, abs=1e-9)
        if source != target:
            lists[target].append(lists[source].pop(place))
        order = torch.tensor(sum(lists, []))
        after = GOLDEN[f'trace/tokens_after_{e}']
        torch.testing.assert_close(prompt.tokens.data[order], after, **close)
        assert prompt.counts().tolist() == GOLDEN[f'trace/counts_after_{e}'].tolist()
    for e, (given, loss) in zip(GOLDEN['meta']['ppo_updates'], updates):
        torch.testing.assert_close(given[4], GOLDEN[f'ppo/rewards_{e}'], **close)
        torch.testing.assert_close(loss, GOLDEN[f'ppo/loss_{e}'], rtol=1e-6, atol=1e-9)
    assert len(updates) == 2


def test_scores_and_losses_of_the_paper_are_means_over_images():
    model = Classifier().train()
    hook = PromptRelocationHook()
    hook.setup(model, seed=0)
    scores, loss = hook.score(as_runner(model))
    whole = dict(inputs=GOLDEN['trace/images'], labels=GOLDEN['trace/labels'])
    expected = model(**whole, mode='loss')['loss']
    (grad,) = torch.autograd.grad(expected, model.backbone.prompt.tokens)
    assert loss == pytest.approx(float(expected), rel=1e-12)
    idle = model.backbone.prompt.idleness(grad)
    torch.testing.assert_close(scores, idle, rtol=1e-9, atol=1e-12)
    assert all(p.grad is None for p in model.parameters())


def test_rewards_and_when_nothing_moves():
    model = Classifier()
    hook = PromptRelocationHook(update_every=9)
    hook.setup(model, seed=0)
    prompt, before = model.backbone.prompt, model.backbone.prompt.tokens.clone()
    idle = torch.full((12,), -1.0).double()
    hook.step(idle, 3.0, 0)
    assert hook._pending is None and torch.equal(prompt.tokens, before)
    hook.step(idle.index_fill(0, torch.tensor([5, 7]), 0.5), 3.0, 1)
    assert hook._steps[-1]['context'][6:].tolist() == [0, 1, 0]  # 5, the first
    hook.step(idle, 2.0, 2)
    assert hook._steps[-1]['reward'] == pytest.approx(3.0 - 2.0 - 0.5)
    hook.step(idle, 9.0, 3)
    assert len(hook._steps) == 1  # nothing moved, so nothing to learn


@pytest.mark.parametrize('allocation', ['thompson', 'random', 'ppo'])
def test_draws_depend_on_seed_and_epoch_alone(allocation):
    hooks = [PromptRelocationHook(allocation=allocation) for _ in range(3)]
    for seed, hook in zip((0, 0, 1), hooks):
        hook.setup(Classifier(), seed=seed)
    odds = torch.full((3,), 1 / 3)
    draws = [[hook.draw(odds, e) for e in range(40)] for hook in hooks]
    assert draws[0] == draws[1] != draws[2] and set(draws[0]) == {0, 1, 2}
    if allocation == 'thompson':
        hooks[0]._tally[0, 1] = hooks[0]._tally[1, 0] = hooks[0]._tally[1, 2] = 1e4
        assert {hooks[0].draw(odds, e) for e in range(40)} == {1}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(allocation='greedy'), r"allocation must be one of .*got 'greedy'"),
        (dict(reward='loss'), r"reward must be one of .*got 'loss'"),
        (dict(every=0), 'every at least 1'),
        (dict(begin=-1), 'begin must be at least 0'),
        (dict(update_every=1), "at least 2 with allocation='ppo'"),
        (dict(allocation='random', update_every=0), 'update_every at least 1'),
        (dict(clip_scores=0), 'clip_scores must be positive, got 0'),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(UserError, match=message):
        PromptRelocationHook(**options)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('relocation')
    write_data(root)
    return root


def run(root, name, prompt='RelocatedPrompt', **changes):
    cfg = config(root / 'data', **changes)
    cfg.merge_from_dict(
        dict(
            work_dir=str(root / name),
            model=dict(
                backbone=dict(
                    arch=dict(num_layers=3),
                    prompt=dict(type=prompt, num_tokens=3, drop_rate=0.2),
                ),
                neck=dict(type='ClsBatchNormNeck', input_features=32),
            ),
            custom_hooks=[
                dict(type='mmvpt.PromptRelocationHook', update_every=2),
                dict(type='EMAHook'),
            ],
            default_hooks=dict(checkpoint=dict(max_keep_ckpts=9)),
            log_level='WARNING',
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def moves(runner):
    return next(h for h in runner.hooks if isinstance(h, PromptRelocationHook)).moves


def test_a_resumed_run_moves_what_the_whole_run_moved_averages_too(root):
    whole = run(root, 'whole', train_cfg__max_epochs=6)
    assert len(moves(whole)) > 1
    layers = unwrapped(whole.model).backbone.prompt.layer_of
    assert layers.tolist() != [0, 0, 0, 1, 1, 1, 2, 2, 2]
    (ema,) = (h for h in whole.hooks if isinstance(h, EMAHook))
    average = ema.ema_model.module.backbone.prompt
    assert average._rows == unwrapped(whole.model).backbone.prompt._rows
    moved = torch.zeros(9, dtype=bool).index_fill(
        0, torch.tensor([row for _, row, *_ in moves(whole)]), True
    )
    lengths = average.tokens.norm(dim=1)  # a moved prompt has shrunk in the average too
    assert lengths[moved].max() < 0.1 * lengths[~moved].min()
    path = str(root / 'whole/epoch_4.pth')
    held = read_checkpoint(path)['prompt_relocation']
    assert held['policy'].keys() and held['loss'] is not None
    resumed = run(root, 'resumed', train_cfg__max_epochs=6, resume=True, load_from=path)
    assert moves(resumed) == moves(whole)
    ends = [read_checkpoint(root / f'{n}/epoch_6.pth') for n in ('whole', 'resumed')]
    for part in ('state_dict', 'ema_state_dict'):
        for name, value in ends[0][part].items():
            assert torch.equal(value, ends[1][part][name]), name


def test_the_pass_leaves_no_trace_but_the_move(root):
    """Running means, gradients and what dropout draws next."""
    runner = run(root, 'trace', train_cfg__max_epochs=1)
    model = unwrapped(runner.model)
    hook = next(h for h in runner.hooks if isinstance(h, PromptRelocationHook))
    before = copy.deepcopy(model.state_dict())
    runner.optim_wrapper.zero_grad()
    random = torch.random.get_rng_state()
    first, _ = hook.score(runner)
    again, _ = hook.score(runner)
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_what_it_cannot_do_is_refused(root):
    with pytest.raises(UserError, match='needs one RelocatedPrompt, but the model has'):
        run(root, 'deep', prompt='DeepPrompt')
    with pytest.raises(UserError, match='training counts iterations'):
        run(
            root,
            'iterations',
            train_dataloader__sampler__type='mmvpt.SeededInfiniteSampler',
            train_cfg=dict(_delete_=True, by_epoch=False, max_iters=3),
            param_scheduler__by_epoch=False,
            default_hooks__checkpoint__by_epoch=False,
        )
