# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""torchvision's NMS for an mmcv without compiled operators, which mmdet imports."""

import importlib.machinery
import importlib.util
import sys
import types

import torchvision


class CompiledOps(types.ModuleType):
    """Has every operator, as far as imports can tell; NMS works."""

    def __getattr__(self, name):
        """Return a function that raises when it is called."""
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise NotImplementedError(f'mmcv was not compiled: no operator {name}')

        return missing

    @staticmethod
    def nms(boxes, scores, iou_threshold, offset):
        """Return the indices of the boxes that stay, best first."""
        if offset:
            boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
        return torchvision.ops.nms(boxes, scores, iou_threshold)


def provide():
    """Stand in for ``mmcv._ext`` if it is missing; return whether it was."""
    if importlib.util.find_spec('mmcv._ext') is not None:
        return False
    module = CompiledOps('mmcv._ext')
    module.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', None)
    sys.modules['mmcv._ext'] = module
    from mmcv.ops import batched_nms
    from mmdet.models.dense_heads import base_dense_head

    base_dense_head.batched_nms = batched_nms  # mmpretrain may have imported mmdet
    return True


def provide_mask2former():
    """Let Mask2Former run on the CPU, where its operators are plain PyTorch."""
    provide()
    import mmdet.models  # noqa: F401
    import mmseg.models  # noqa: F401
    from mmcv import ops
    from mmdet.models.dense_heads import mask2former_head
    from mmdet.models.layers.transformer import deformable_detr_layers
    from mmdet.models.utils import point_sample

    # mmpretrain may have imported mmdet before, without them.
    deformable_detr_layers.MultiScaleDeformableAttention = (
        ops.MultiScaleDeformableAttention
    )
    mask2former_head.point_sample = point_sample.point_sample = ops.point_sample
