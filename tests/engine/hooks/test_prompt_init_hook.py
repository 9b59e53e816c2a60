# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompts that start from training images, and losses of their own parameters."""

import copy

import pytest
import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmvpt.apis import publish
from mmvpt.checkpoint import read_checkpoint
from mmvpt.checkpoint.tuned import read_tuned
from mmvpt.engine.forward import unwrapped
from mmvpt.engine.hooks import PromptInitHook, PromptLossHook
from mmvpt.errors import UserError
from tests.engine.guided_runs import build
from tests.engine.miniature import config, write_data
from tests.quick import two_ranks

SELF = dict(type='SelfPrompt', num_tokens=3, drop_rate=0.2)
BPT = dict(type='BilinearPrompt', num_tokens=3, rank=4, init='whitened')
PAE = dict(type='EvolvingPrompt', num_tokens=3, koopman_dims=4, window=8, stride=4)


@HOOKS.register_module(force=True)
class FirstPrompt(Hook):
    """Keeps the prompt's state as the first iteration finds it."""

    state = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.state is None:
            self.state = copy.deepcopy(
                unwrapped(runner.model).backbone.prompt.state_dict()
            )


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('starts')
    write_data(root)
    return root


def run(root, name, prompt, layers=2, without=None, **changes):
    """Train; return the runner and the prompt that training began with."""
    cfg = config(root / 'data', **dict(dict(train_cfg__max_epochs=1), **changes))
    if without:
        cfg.default_hooks.pop(without)
    cfg.merge_from_dict(
        dict(
            work_dir=str(root / name),
            model=dict(
                backbone=dict(
                    arch=dict(num_layers=layers), prompt=dict(prompt, _delete_=True)
                )
            ),
            custom_hooks=[dict(type='FirstPrompt'), dict(type='EMAHook')],
            log_level='WARNING',
        )
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    first = next(h for h in runner.hooks if isinstance(h, FirstPrompt)).state
    return runner, first


def test_prompts_are_patches_of_training_images(root):
    runner, first = run(root, 'patches', SELF)
    model = unwrapped(runner.model)
    dataset = runner.train_dataloader.dataset
    assert len(dataset) == 24
    record = read_checkpoint(root / 'patches/epoch_1.pth')['message_hub']
    assert record['runtime_info']['prompt_init'] == dict(
        prompt='SelfPrompt', images=6, seed=0
    )
    prompt = model.backbone.prompt
    assert prompt.started and first['tokens'].shape == (2, 3, 32)
    # Far from VPT's start: rows of layer 1 have gone through a layer.
    assert first['tokens'][1].abs().max() > 2 * (6 / (3 * 64 + 32)) ** 0.5
    again, same = run(root, 'again', SELF)
    assert torch.equal(same['tokens'], first['tokens'])
    _, other = run(root, 'other', SELF, randomness__seed=1)
    assert not torch.equal(other['tokens'], first['tokens'])


def test_resumed_and_loaded_prompts_are_left_alone(root):
    """And averages begin where training does, not at VPT's start."""
    _, begun = run(root, 'whole', SELF, train_cfg__max_epochs=2)
    path = str(root / 'whole/epoch_1.pth')
    _, first = run(
        root, 'resumed', SELF, train_cfg__max_epochs=2, resume=True, load_from=path
    )
    held = read_checkpoint(path)  # in which averages stand in the model's place
    average, model = 'state_dict', 'ema_state_dict'
    assert torch.equal(first['tokens'], held[model]['module.backbone.prompt.tokens'])
    _, first = run(root, 'loaded', SELF, load_from=path)
    assert torch.equal(first['tokens'], held[average]['backbone.prompt.tokens'])
    ends = [read_checkpoint(root / f'{n}/epoch_2.pth') for n in ('whole', 'resumed')]
    for part in (average, model):
        for name, value in ends[0][part].items():
            assert torch.equal(value, ends[1][part][name]), name
    trained = ends[0][model]['module.backbone.prompt.tokens'] - begun['tokens']
    averaged = ends[0][average]['backbone.prompt.tokens'] - begun['tokens']
    assert 0 < averaged.norm() < trained.norm()


def test_whitened_bases_need_the_hook(root):
    _, first = run(root, 'whitened', BPT)
    assert first['bases'].abs().max() > 1  # Xavier's bound is 0.41
    with pytest.raises(UserError, match='neither whitened nor loaded. Add default_ho'):
        run(root, 'noise', BPT, without='prompt_init')


def test_self_prompts_without_the_hook_say_so(root):
    with pytest.warns(UserWarning, match='the method is plain VPT'):
        run(root, 'plain', SELF, without='prompt_init')


def test_evolving_prompts_train_and_are_published_without_their_losses(root):
    runner, first = run(root, 'evolving', PAE, 3, train_cfg__max_epochs=2)
    assert torch.equal(first['koopman'], torch.eye(4))
    state = unwrapped(runner.model).backbone.prompt.state_dict()
    assert not torch.equal(state['koopman'], first['koopman'])
    scalars = runner.message_hub.log_scalars
    names = {name for name in scalars if name.startswith('train/loss')}
    assert names == {f'train/loss{n}' for n in ('', '_cls', '_koopman', '_lyapunov')}
    total = scalars['train/loss'].data[0][-1]
    parts = [scalars[name].data[0][-1] for name in sorted(names)[1:]]
    assert float(total) == pytest.approx(sum(map(float, parts)), rel=1e-5)
    release = publish(root / 'evolving/epoch_2.pth', root)
    kept = {name for name in read_tuned(release).state if 'prompt' in name}
    assert kept == {'backbone.prompt.tokens'}


def test_losses_without_their_hook_are_refused(root):
    with pytest.raises(UserError, match='PromptLossHook'):
        run(root, 'no-loss', PAE, layers=3, without='prompt_loss')


PROMPTS = {
    'relocated': dict(type='RelocatedPrompt', num_tokens=3, drop_rate=0),
    'self': dict(type='SelfPrompt', num_tokens=3, num_images=20),
    'vipamin': dict(type='VipaminPrompt', num_tokens=3, num_matches=2, num_images=9),
    'bilinear': dict(BPT, tuned_bases=0),
    'evolving': dict(PAE, drop_rate=0),
}


def train(folder, prompt, batch_size, launcher='none'):
    """Train in float64 and write the model's state."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    hooks = [
        dict(type='mmvpt.PromptInitHook', batch_size=5),
        dict(type='mmvpt.PromptLossHook'),
    ]
    if prompt == 'relocated':
        hooks = [dict(type='mmvpt.PromptRelocationHook', begin=0, update_every=2)]
    runner = build(
        folder,
        model__backbone__prompt=dict(PROMPTS[prompt], _delete_=True),
        model__backbone__tunable='none',
        train_dataloader__batch_size=batch_size,
        train_cfg__max_epochs=4 if prompt == 'relocated' else 2,
        optim_wrapper__optimizer__lr=0.1,
        custom_hooks=hooks,
        launcher=launcher,
        model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None),
    )
    runner.train()
    rank = dist.get_rank() if dist.is_initialized() else 0
    state = unwrapped(runner.model).state_dict()
    torch.save(state, folder / f'state_{rank}.pt')


def one_rank(rank, root):
    for prompt in PROMPTS:
        train(root / prompt / 'two', prompt, 6, 'pytorch')


def test_two_ranks_equal_one(tmp_path):
    for prompt in PROMPTS:
        for name in ('one', 'two'):
            (tmp_path / prompt / name).mkdir(parents=True)
        train(tmp_path / prompt / 'one', prompt, 12)
    torch.set_default_dtype(torch.float32)
    two_ranks(one_rank, tmp_path)
    for prompt in PROMPTS:
        one = torch.load(tmp_path / prompt / 'one/state_0.pt')
        if prompt == 'relocated':
            moved = one['backbone.prompt.layer_of'] != torch.arange(9) // 3
            assert moved.any()
        for rank in range(2):
            two = torch.load(tmp_path / prompt / f'two/state_{rank}.pt')
            for name, value in one.items():
                torch.testing.assert_close(
                    two[name],
                    value,
                    rtol=1e-8,
                    atol=1e-10,
                    msg=lambda text, name=name, p=prompt: f'{p}.{name}: {text}',
                )


def test_hooks_leave_other_prompts_alone(root):
    runner, _ = run(root, 'deep', dict(type='DeepPrompt', num_tokens=2))
    hub = runner.message_hub
    assert 'prompt_init' not in hub.runtime_info
    model = unwrapped(runner.model)
    hook = PromptLossHook()
    hook.before_train(runner)
    assert not model._forward_hooks
    PromptInitHook().before_train(runner)
