# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which classes an image shows, as every OpenMMLab project says it."""

import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample

from mmvpt.engine.guided import image_classes


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
    seg = DataSample()
    seg.gt_sem_seg = PixelData(data=torch.tensor([[[2, 2, 255], [0, 2, 255]]]))
    assert image_classes([seg], 3).tolist() == [[True, False, True]]
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
    ],
)
def test_bad_labels(data, message):
    with pytest.raises(ValueError, match=message):
        image_classes(data, 4)
