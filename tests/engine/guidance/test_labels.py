# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which classes images and patches show, as every OpenMMLab project says it."""

from collections import Counter

import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from torch import nn

from mmvpt.engine.guidance.labels import LabelReader, image_classes, patch_classes
from mmvpt.models.vit import PromptedVisionTransformer


def masked(*masks):
    """Return a sample for each mask (H, W)."""
    samples = [DataSample() for _ in masks]
    for sample, mask in zip(samples, masks):
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(mask)[None])
    return samples


def test_labels_of_every_project():
    single = [DataSample().set_gt_label(y) for y in (3, 0)]
    assert image_classes(single, 4).tolist() == [3, 0]
    mixed = DataSample().set_gt_label(3)
    mixed.set_gt_score(torch.tensor([0.2, 0.5, 0.0, 0.3]))
    assert image_classes([mixed], 4).tolist() == [1]
    several = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])]
    assert image_classes(several, 3).tolist() == [
        [True, False, True],
        [False, True, False],
    ]
    seg = masked([[2, 2, 255], [0, 2, 255]])
    assert image_classes(seg, 3).tolist() == [[True, False, True]]
    boxes = DataSample()
    boxes.gt_instances = InstanceData(labels=torch.tensor([1, 1]))
    assert image_classes([boxes], 3).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ([], 'no data samples'),
        ([DataSample()], 'no labels; needed is one of gt_label'),
        ([DataSample().set_gt_label(4)], 'label 4 is beyond the map'),
        ([DataSample().set_gt_label(-1)], 'label -1 is beyond the map'),
        ([DataSample().set_gt_label([1, 5])], 'label 5 is beyond the map'),
        (masked([[0, 4]]), 'label 4 is beyond the map.* or 255 for pixels without'),
        (masked([[0, 254]]), 'label 254 is beyond the map'),
    ],
)
def test_bad_labels(data, message):
    with pytest.raises(ValueError, match=message):
        image_classes(data, 4)


def literal_patch_classes(mask, high, wide, ignored=255):
    """Count pixels of each patch one by one."""
    rows, columns = -(-len(mask) // high), -(-len(mask[0]) // wide)
    pixels = [Counter() for _ in range(rows * columns)]
    for y, row in enumerate(mask):
        for x, label in enumerate(row):
            if label != ignored:
                pixels[y // high * columns + x // wide][label] += 1
    return [min(c, key=lambda k: (-c[k], k)) if c else -1 for c in pixels]


@pytest.mark.parametrize('size', [(8, 12), (7, 9), (4, 3), (1, 1), (13, 6)])
@pytest.mark.parametrize('ignored', [255, -100])
def test_a_patch_has_the_class_of_most_pixels(size, ignored):
    generator = torch.Generator().manual_seed(sum(size))
    # Few classes for ties, often nothing.
    masks = torch.randint(0, 4, (5, *size), generator=generator)
    masks[masks == 3] = ignored
    masks[0] = ignored
    found = patch_classes(masks, (4, 3), 3, ignored)
    expected = [literal_patch_classes(m, 4, 3, ignored) for m in masks.tolist()]
    assert found.tolist() == expected
    assert (found[0] == -1).all()


def test_a_class_cannot_be_ignored():
    with pytest.raises(ValueError, match='cannot be both ignored and one of the 300'):
        patch_classes(torch.zeros(1, 4, 4), (2, 2), 300)
    with pytest.raises(ValueError, match='cannot be both ignored and one of the 300'):
        image_classes(masked([[0, 255]]), 300)


ARCH = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)


def reader(labels='patch', head=None, **options):
    """Return the reader of a model with 3 classes and patches of 8 pixels."""
    backbone = PromptedVisionTransformer(
        ARCH,
        img_size=16,
        patch_size=8,
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=3,
            num_guided_tokens=2,
            labels=labels,
        ),
        **options,
    )
    model = nn.Module()
    if head:
        model.decode_head = head
    return LabelReader(model, backbone)


def head(ignore_index):
    """Return a head that ignores a label."""
    module = nn.Module()
    module.ignore_index = ignore_index
    return module


def test_the_head_says_what_is_ignored():
    mask = torch.full((16, 8), 7)
    mask[:8] = 1
    for heads in (head(7), nn.ModuleList([head(255), head(7)])):
        found = reader(head=heads)
        assert found.read(masked(mask), (16, 8), patches=True).tolist() == [[1, -1]]
        assert found.read(masked(mask), (16, 8), patches=False).tolist() == [
            [False, True, False]
        ]
    with pytest.raises(ValueError, match='label 7 is beyond'):
        reader().read(masked(mask), (16, 8))


def test_read_is_what_the_prompt_asks_for():
    samples = masked(torch.ones(9, 16), torch.full((9, 16), 255))
    assert reader().read(samples, (9, 16)).tolist() == [[1] * 4, [-1] * 4]
    by_image = reader('image').read(samples, (9, 16))
    assert by_image.tolist() == [[False, True, False], [False] * 3]


def batch(image, *masks, **fields):
    """Return a batch as a data loader does."""
    samples = masked(*masks)
    for sample in samples:
        sample.set_metainfo(fields)
    return dict(inputs=[torch.zeros(3, *image)] * len(masks), data_samples=samples)


@pytest.mark.parametrize('labels', ['image', 'patch'])
def test_batches_are_checked(labels):
    found = reader(labels)
    fitting = torch.zeros(16, 12).long()
    found.check(batch((16, 12), fitting, fitting))
    with pytest.raises(ValueError, match=r'has size \(8, 12\), but its image \(16'):
        found.check(batch((16, 12), torch.zeros(8, 12)))
    with pytest.raises(ValueError, match='image.*street.png'):
        found.check(batch((16, 12), torch.zeros(8, 12), img_path='street.png'))
    with pytest.raises(ValueError, match='label 3 is beyond the map'):
        found.check(batch((16, 12), fitting, fitting + 3))
    single = dict(inputs=torch.zeros(1, 3, 16, 16))
    single['data_samples'] = [DataSample().set_gt_label(1)]
    if labels == 'image':
        found.check(single)
    else:
        with pytest.raises(ValueError, match=r"needs masks.*has \['gt_label'\]"):
            found.check(single)


@pytest.mark.parametrize(
    'patch', [dict(stride=4), dict(padding='same'), dict(padding=0), dict(dilation=2)]
)
def test_patches_must_tile_the_image(patch):
    with pytest.raises(ValueError, match='needs patches side by side'):
        reader(patch_cfg=patch)
    assert not reader('image', patch_cfg=patch).of_patches
