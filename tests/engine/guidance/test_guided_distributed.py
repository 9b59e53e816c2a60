# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Two processes with half the batch each train like one with the whole batch."""

import json

import pytest
import torch
import torch.distributed as dist

from tests.engine.guided_runs import build, witness
from tests.quick import asked, swept, two_ranks

SAMPLER = dict(type='mmvpt.ClassBalancedBatchSampler', samples_per_class=2)
VARIANTS = {
    'shuffled': dict(),
    'class-balanced': dict(train_dataloader__batch_sampler=SAMPLER),
    # Buffers of the first rank overwrite the others' in every forward pass.
    'buffers broadcast': dict(model_wrapper_cfg__broadcast_buffers=True),
}


def train(folder, variant, batch_size, launcher='none'):
    """Train four epochs and write down what came out."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    runner = build(
        folder,
        train_dataloader__batch_size=batch_size,
        train_cfg__max_epochs=4,
        optim_wrapper__optimizer__lr=0.1,
        custom_hooks=[
            dict(type='mmvpt.MetricGuidanceHook'),
            dict(type='mmvpt.SemanticMappingHook'),
            dict(type='Witness'),
        ],
        launcher=launcher,
        model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None),
        **VARIANTS[variant],
    )
    means = []
    mapping = next(h for h in runner.hooks if hasattr(h, 'cluster'))
    update = mapping._update
    prompt = mapping.find(runner)[1].prompt
    mapping._update = lambda runner, start: (
        means.append((prompt.class_sums.clone(), prompt.class_counts.clone())),
        update(runner, start),
    )
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    rank = dist.get_rank() if dist.is_initialized() else 0
    result = dict(
        losses=witness(runner).losses,
        means=means,
        state={k: v.detach() for k, v in model.state_dict().items()},
    )
    torch.save(result, folder / f'result_{rank}.pt')


def one_rank(rank, root, variants):
    for variant in variants:
        train(root / variant / 'two', variant, 6, 'pytorch')


@pytest.fixture(scope='module')
def root(tmp_path_factory, request):
    """Train the variants that are asked for with one process and with two."""
    variants = list(asked(request, 'variant', VARIANTS))
    root = tmp_path_factory.mktemp('distributed')
    for variant in variants:
        for name in ('one', 'two'):
            (root / variant / name).mkdir(parents=True)
        train(root / variant / 'one', variant, 12)
    torch.set_default_dtype(torch.float32)
    two_ranks(one_rank, root, variants)
    return root


@pytest.mark.parametrize('variant', swept(VARIANTS, 'class-balanced'))
def test_two_ranks_equal_one(root, variant):
    tmp_path = root / variant
    one = torch.load(tmp_path / 'one' / 'result_0.pt')
    ranks = [torch.load(tmp_path / 'two' / f'result_{r}.pt') for r in range(2)]
    close = dict(rtol=1e-9, atol=1e-9)
    for two in ranks:
        for name, value in one['state'].items():
            torch.testing.assert_close(two['state'][name], value, **close)
        assert len(one['means']) == 5
        for (sums, counts), (sums_two, counts_two) in zip(one['means'], two['means']):
            torch.testing.assert_close(sums_two, sums, **close)
            assert torch.equal(counts_two, counts)
        for a, b in zip(one['losses'], two['losses']):
            for name in ('loss_metric_visual', 'loss_metric_cls'):
                assert b[name] == pytest.approx(a[name], rel=1e-9)
    # The task loss is that of a rank's own half.
    for a, x, y in zip(one['losses'], *(two['losses'] for two in ranks)):
        assert a['loss_cls'] == pytest.approx((x['loss_cls'] + y['loss_cls']) / 2)
    # All ranks hold the same, to the bit.
    for name, value in ranks[0]['state'].items():
        assert torch.equal(value, ranks[1]['state'][name]), name

    def maps(folder):
        (file,) = folder.glob('*/class_to_prompt.jsonl')
        return [json.loads(line)['map'] for line in file.read_text().splitlines()]

    expected = maps(tmp_path / 'one')
    assert maps(tmp_path / 'two') == expected and len(expected) == 5
    assert len({tuple(m) for m in expected}) > 1
