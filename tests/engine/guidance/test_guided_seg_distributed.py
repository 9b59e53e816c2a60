# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Two processes with unlike crops and labels train like one with the whole batch."""

import pytest
import torch
import torch.distributed as dist
from mmpretrain.structures import DataSample

from mmvpt.engine.guidance.labels import LabelReader
from mmvpt.engine.hooks import MetricGuidanceHook, SemanticMappingHook
from mmvpt.models.losses import ProxyAnchorLoss
from tests.engine.guidance.test_labels import masked
from tests.engine.guided_runs import witness
from tests.engine.guided_seg_runs import build
from tests.models.guided_model import Model, random_backbone
from tests.quick import two_ranks

METRIC = ('loss_metric_visual', 'loss_metric_cls')
LABELS = ('image', 'patch')


def train(folder, labels, batch_size, launcher='none'):
    """Train seven iterations and write down what came out."""
    runner = build(
        folder,
        labels,
        train_dataloader__batch_size=batch_size,
        launcher=launcher,
        model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None),
    )
    runner.train()
    model = getattr(runner.model, 'module', runner.model)
    rank = dist.get_rank() if dist.is_initialized() else 0
    state = {k: v.detach() for k, v in model.state_dict().items()}
    result = dict(losses=witness(runner).losses, state=state)
    torch.save(result, folder / f'result_{rank}.pt')


def crops(seed, batch, size, ignored=False):
    """Return images and their samples with masks of classes 0 to 5."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, *size, generator=generator)
    masks = torch.randint(0, 7, (batch, *size), generator=generator)
    masks[masks == 6] = 255
    masks[:, : size[0] // 2] = 255
    return images, masked(*(torch.full_like(masks, 255) if ignored else masks))


def named(seed, labels):
    """Return images with the labels given, each one or several."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(len(labels), 3, 32, 32, generator=generator)
    return images, [DataSample().set_gt_label(label) for label in labels]


# By name: the labels option, and what each rank gets.
CASES = {
    'unlike crops': ('patch', crops(0, 2, (30, 27)), crops(1, 2, (16, 24))),
    'one rank ignored': ('patch', crops(0, 2, (16, 24), True), crops(1, 2, (30, 27))),
    'all ignored': ('patch', crops(0, 2, (16, 24), True), crops(1, 2, (9, 8), True)),
    'one label and several': ('image', named(0, [3, 0]), named(1, [[0, 2, 3], [1]])),
    'several labels and one': ('image', named(0, [[4, 5], [1]]), named(1, [2, 2])),
    'ignored crop and none': (
        'image',
        crops(0, 2, (16, 24), True),
        crops(1, 2, (8, 8)),
    ),
}


def add(vit, labels, images, samples):
    """Return the losses that a hook adds, and their gradients."""
    hook, model = MetricGuidanceHook(), Model(vit).train()
    hook.attach(model, vit)
    losses = model(images, samples, mode='loss')
    hook.detach()
    prompts = [vit.prompt.tokens, vit.prompt.guided_tokens]
    gradients = torch.autograd.grad(sum(losses[name] for name in METRIC), prompts)
    return [losses[name].detach() for name in METRIC], gradients


def count(vit, images, samples):
    """Count the features of one iteration; return sums and counts."""
    hook = SemanticMappingHook()
    hook._prompt, hook._labels = vit.prompt, LabelReader(Model(vit), vit)
    classes = hook._labels.read(samples, images.shape[-2:])
    # Anything that depends on the image, one for each image or patch.
    features = images.flatten(1)[:, :12]
    if vit.prompt.labels == 'patch':
        features = features.repeat_interleave(classes.shape[1], dim=0)
    hook._count(features, classes)
    return vit.prompt.class_sums.clone(), vit.prompt.class_counts.clone()


def one_rank(rank, root):
    torch.set_default_dtype(torch.float64)
    for labels in LABELS:
        train(root / labels / 'two', labels, 2, 'pytorch')
    found = {}
    for name, (labels, *ranks) in CASES.items():
        vit = random_backbone(True, labels=labels)
        losses, gradients = add(vit, labels, *double(ranks[rank]))
        for gradient in gradients:  # as distributed training does
            dist.all_reduce(gradient)
            gradient /= 2
        found[name] = losses, gradients, count(vit, *double(ranks[rank]))
    torch.save(found, root / f'cases_{rank}.pt')


def double(case):
    images, samples = case
    return images.double(), samples


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Train with one process and with two."""
    root = tmp_path_factory.mktemp('distributed')
    for labels in LABELS:
        for name in ('one', 'two'):
            (root / labels / name).mkdir(parents=True)
    torch.set_default_dtype(torch.float64)
    for labels in LABELS:
        train(root / labels / 'one', labels, 4)
    torch.set_default_dtype(torch.float32)
    two_ranks(one_rank, root)
    return root


@pytest.mark.parametrize('labels', LABELS)
def test_two_ranks_equal_one(root, labels):
    folder = root / labels
    one = torch.load(folder / 'one' / 'result_0.pt')
    ranks = [torch.load(folder / 'two' / f'result_{rank}.pt') for rank in range(2)]
    for two in ranks:
        for name, value in one['state'].items():
            close = dict(rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(two['state'][name], value, **close)
        for a, b in zip(one['losses'], two['losses']):
            for name in METRIC:
                assert b[name] == pytest.approx(a[name], rel=1e-8)
    for name, value in ranks[0]['state'].items():
        assert torch.equal(value, ranks[1]['state'][name]), name


def expected_losses(labels, ranks):
    """Compute everything in one process; crops of unlike size one after the other."""
    vit = random_backbone(True, labels=labels)
    vit.train()
    reader, records, targets = LabelReader(Model(vit), vit), [], []
    visual = 'output_patches' if labels == 'patch' else 'output'
    vit.guide.reads = (visual, 'cls_query', 'prompt_query')
    vit.guide.register_forward_hook(lambda module, args, out: records.append(args))
    for images, samples in map(double, ranks):
        vit(images)
        crop = vit.prompt.assign(reader.read(samples, (), patches=False))
        own = vit.prompt.assign(reader.read(samples, images.shape[-2:]))
        targets.append((own.flatten(), crop))
    total = [0.0, 0.0]
    for layer in vit.prompt.guided_layers:
        of_layer = [record for i, record in records if i == layer]
        for which, name in enumerate((visual, 'cls_query')):
            rows = [record[name] for record in of_layer]
            y = [pair[which] for pair in targets]
            if name == 'output':
                rows = [x[range(len(x)), t.clamp(min=0)] for x, t in zip(rows, y)]
            x, y = torch.cat([x.flatten(0, -2) for x in rows]), torch.cat(y)
            x, y = x[y >= 0], y[y >= 0]
            loss = ProxyAnchorLoss()(x, of_layer[0]['prompt_query'], y)
            total[which] += 0.01 * loss / len(vit.prompt.guided_layers)
    prompts = [vit.prompt.tokens, vit.prompt.guided_tokens]
    return [t.detach() for t in total], torch.autograd.grad(sum(total), prompts)


@pytest.mark.parametrize('name', CASES)
def test_unlike_ranks(root, name):
    torch.set_default_dtype(torch.float64)
    labels, *ranks = CASES[name]
    try:
        losses, gradients = expected_losses(labels, ranks)
        vit = random_backbone(True, labels=labels)
        for case in ranks:
            sums, counts = count(vit, *double(case))
    finally:
        torch.set_default_dtype(torch.float32)
    close = dict(rtol=1e-10, atol=1e-10)
    for rank in range(2):
        found = torch.load(root / f'cases_{rank}.pt')[name]
        torch.testing.assert_close(found[0], losses, **close)
        torch.testing.assert_close(found[1], gradients, **close)
        torch.testing.assert_close(found[2][0], sums, **close)
        assert torch.equal(found[2][1], counts)
    assert (counts.sum() == 0) == (name == 'all ignored') == (losses[0] == 0)
