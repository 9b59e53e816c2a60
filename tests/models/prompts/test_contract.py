# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What every prompt must do in the backbone; a new prompt is a line in the table."""

import copy

import pytest
import torch
from mmengine.registry import DefaultScope

from mmvpt.models import prompts as shipped
from mmvpt.models.prompts import BasePrompt
from mmvpt.models.tunable import tuned_state
from mmvpt.weights.families import FAMILIES
from tests.models.exact import assert_same, drawn
from tests.models.naive import naive_forward
from tests.models.prompted import (
    ARCH,
    EXAMPLE,
    INPUTS,
    PROMPT_CONFIGS,
    WITH_OUTPUT,
    WITHOUT_ROWS,
    build,
    images,
)
from tests.quick import in_turn, two_ranks

every_prompt = pytest.mark.parametrize('name', PROMPT_CONFIGS)


def test_every_shipped_prompt_is_in_the_table():
    classes = {
        name
        for name, found in vars(shipped).items()
        if isinstance(found, type) and issubclass(found, BasePrompt)
    }
    classes.discard('BasePrompt')
    assert classes <= {config['type'] for config in PROMPT_CONFIGS.values()}


def test_the_example_is_short():
    assert EXAMPLE.count('\n') < 100


@every_prompt
def test_shapes(name):
    vit = build(name)
    seen = []
    vit.prompt.register_forward_hook(lambda m, args, out: seen.append(out))
    assert vit(images())[0].shape == (2, 24)
    assert len(seen) == 3
    for prompts in seen:
        if prompts is not None:
            assert prompts.dim() == 3
            assert prompts.shape[0] in (1, 2) and prompts.shape[2] == 24
    raw = build(name, out_type='raw')(images())[0]
    rows = 0 if name in WITHOUT_ROWS else seen[-1].shape[1]
    assert raw.shape == (2, 1 + 16 + rows, 24)


@pytest.mark.parametrize(
    ('name', 'pooling'),
    [
        (name, output['pooling'])
        for name, output in WITH_OUTPUT
        if output.get('pooling', 'prompts') != 'prompts' and len(output) == 1
    ],
)
def test_tuned_parameters_learn_and_frozen_ones_do_not(name, pooling):
    vit = build(name, pooling=pooling, norm_before_pool=False).train()
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    tuned = {n: p for n, p in vit.named_parameters() if p.requires_grad}
    assert set(tuned) == {f'prompt.{n}' for n, _ in vit.prompt.named_parameters()}
    optimizer = torch.optim.AdamW(tuned.values(), lr=0.01)
    weight = torch.randn(24)
    (vit(images())[0] @ weight).square().sum().backward()
    for key, parameter in vit.named_parameters():
        if key in tuned:
            assert parameter.grad.isfinite().all() and parameter.grad.any(), key
        else:
            assert parameter.grad is None, key
    optimizer.step()
    vit.eval()
    vit(images())
    for key, parameter in vit.named_parameters():
        assert torch.equal(parameter, before[key]) == (key not in tuned), key


@every_prompt
def test_save_and_load(name, tmp_path):
    vit = build(name).eval()
    state = tuned_state(vit, vit.state_dict())
    assert all(key.startswith('prompt.') for key in state)
    torch.save(state, tmp_path / 'tuned.pth')
    other = build(name, seed=1).eval()
    frozen = {k: v for k, v in vit.state_dict().items() if not k.startswith('prompt.')}
    other.load_state_dict(frozen, strict=False)
    assert not torch.equal(other(images())[0], vit(images())[0])
    tuned = torch.load(tmp_path / 'tuned.pth', weights_only=True)
    missing, unexpected = other.load_state_dict(tuned, strict=False)
    assert not unexpected and not any(k.startswith('prompt.') for k in missing)
    assert torch.equal(other(images())[0], vit(images())[0])


@every_prompt
def test_checkpoint_with_another_count_is_refused(name):
    state = build(name).state_dict()
    count = dict(rank=5) if name == 'spatial' else dict(num_tokens=7)
    other = build(name, prompt=count)
    with pytest.raises(ValueError, match=r'prompt\.[\w.]+ is \(.*num_tokens'):
        other.load_state_dict(state)


@every_prompt
def test_checkpoint_of_another_depth_is_refused(name):
    other = build(name, arch=dict(ARCH, num_layers=5))
    with pytest.raises(ValueError, match='in the checkpoint|layers and the model'):
        other.load_state_dict(build(name).state_dict())


@every_prompt
def test_feature_maps_at_any_image_size(name):
    vit = build(name, out_type='featmap', out_indices=(0, 2)).train()
    for size, grid in (((32, 32), (4, 4)), ((48, 40), (6, 5)), ((29, 37), (4, 5))):
        outs = vit(images(size=size))
        assert [out.shape for out in outs] == [(2, 24, *grid)] * 2
        sum(out.square().sum() for out in outs).backward()
    for key, parameter in vit.prompt.named_parameters():
        assert parameter.grad.any(), key


@every_prompt
def test_image_alone_equals_image_in_a_batch(name):
    vit = build(name).double()
    batch = images(3, dtype=torch.float64)
    alone = torch.cat([vit(image[None])[0] for image in batch])
    torch.testing.assert_close(vit(batch)[0], alone, rtol=0, atol=1e-12)


@every_prompt
def test_bfloat16_autocast(name):
    vit = build(name).train()
    exact = vit(images())[0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        feature = vit(images())[0]
    torch.testing.assert_close(feature.float(), exact, rtol=0, atol=0.15)
    feature.float().square().sum().backward()
    for key, parameter in vit.prompt.named_parameters():
        assert parameter.grad.dtype == torch.float32, key
        assert parameter.grad.isfinite().all() and parameter.grad.any(), key


@every_prompt
def test_deepcopy_after_a_step(name):
    vit = build(name).train()
    vit(images())[0].sum().backward()
    twin = copy.deepcopy(vit)
    assert torch.equal(twin(images())[0], vit(images())[0])
    for parameter in twin.prompt.parameters():
        parameter.data += 1
    assert not torch.equal(twin(images())[0], vit(images())[0])


def set_dropout(vit, p):
    """Set every rate of the prompt, and say whether it has any."""
    found = [m for m in vit.prompt.modules() if isinstance(m, torch.nn.Dropout)]
    for module in found:
        module.p = p
    return bool(found)


@pytest.mark.parametrize(('name', 'output'), WITH_OUTPUT, ids=str)
def test_equals_the_plain_full_token_way(name, output):
    """With its dropout too: prompts are drawn in the same order."""
    vit = build(name, **output).double().train()
    for (*size, count), p in zip(INPUTS, (0.4, 0, 0.4)):
        set_dropout(vit, p)
        batch = images(count, size, dtype=torch.float64)
        assert_same(vit, drawn(vit, batch), drawn(naive_forward, vit, batch))
    outs = [vit(batch)[0] for _ in range(2)]
    assert torch.equal(*outs) != set_dropout(vit, 0)


@pytest.mark.parametrize(('name', 'with_cp'), in_turn(PROMPT_CONFIGS, (True, 'mlp')))
def test_recomputing_draws_the_same_again(name, with_cp):
    """Dropout of prompts and of layers; everything has a gradient."""
    drops = dict(drop_path_rate=0.3, layer_cfgs=dict(attn_drop_rate=0.2, drop_rate=0.2))
    pooling = 'patches' if name in WITHOUT_ROWS else 'prompts'
    for output in (dict(pooling='cls'), dict(pooling=pooling)):
        grads = []
        for option in (False, with_cp):
            vit = build(name, tunable='full', with_cp=option, **drops, **output)
            set_dropout(vit.double().train(), 0.4)
            batch = images(dtype=torch.float64)
            drawn(vit, batch)[0].square().sum().backward()
            grads.append({n: p.grad for n, p in vit.named_parameters()})
        torch.testing.assert_close(*grads, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('name', 'training'),
    in_turn(PROMPT_CONFIGS, (True, False), ('gated', True), ('gated', False)),
)
def test_compiles_without_graph_breaks(name, training):
    torch._dynamo.reset()
    output = dict() if training else dict(out_type='raw')
    vit = build(name, arch=dict(ARCH, num_layers=2), **output).double()
    set_dropout(vit.train(training), 0.4)
    compiled = torch.compile(vit, backend='eager', fullgraph=True)
    batch = images(dtype=torch.float64)
    assert_same(vit, drawn(compiled, batch), drawn(vit, batch))


def gradients(model, vit, batch):
    """Mean-loss gradients of the prompt's parameters."""
    feature = model(batch)[0]
    weight = torch.cos(torch.arange(feature.shape[1])).to(feature)
    (feature @ weight).square().mean().backward()
    return {n: p.grad.clone() for n, p in vit.prompt.named_parameters()}


#: Prompts, what backward recomputes, and the family of the backbone.
RANKS_RUN = [(name, False, 'vit') for name in PROMPT_CONFIGS]
RANKS_RUN += [('gated', True, 'vit'), ('adaptive', 'mlp', 'vit')]
RANKS_RUN += [('deep', False, family) for family in FAMILIES if family != 'vit']
RANKS_RUN += [('adaptive', False, 'siglip'), ('gated', False, 'dinov3')]


def built(name, with_cp, family, **options):
    """Return the backbone of an entry of ``RANKS_RUN``, in float64."""
    arch = dict(ARCH, family=family)
    return build(name, arch=arch, with_cp=with_cp, **options).double().train()


def run_rank(rank, path):
    """Compute gradients of half a batch for every prompt under DDP."""
    found = {}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for entry in RANKS_RUN:
            vit = built(*entry, seed=rank)  # rank 0's weights win
            model = torch.nn.parallel.DistributedDataParallel(vit)
            half = images(4, dtype=torch.float64)[2 * rank : 2 * rank + 2]
            found[entry] = gradients(model, vit, half)
    if rank == 0:
        torch.save(found, path)


def test_two_processes_equal_one(tmp_path):
    path = tmp_path / 'gradients.pth'
    two_ranks(run_rank, path)
    found = torch.load(path, weights_only=True)
    for entry in RANKS_RUN:
        name, _, family = entry
        vit = built(name, False, family)
        expected = gradients(vit, vit, images(4, dtype=torch.float64))
        top = max(float(grad.abs().max()) for grad in expected.values())
        for key, grad in expected.items():
            torch.testing.assert_close(
                found[entry][key],
                grad,
                rtol=1e-8,
                atol=1e-10 * top,
                msg=lambda text, entry=entry, key=key: f'{entry}.{key}: {text}',
            )
