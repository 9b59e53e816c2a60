# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which classes training samples show, for every OpenMMLab project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError

IGNORED = 255  # mmseg's label of pixels that do not count, unless a head has another
LABELS = 'gt_label (mmpretrain), gt_sem_seg (mmseg) or gt_instances.labels (mmdet)'
_READERS: WeakKeyDictionary[nn.Module, LabelReader] = WeakKeyDictionary()


class LabelReader:
    r"""Reads labels as a model and the ``labels`` option of its prompt want them.

    With ``labels='image'`` it tells which classes an image shows, see
    :func:`image_classes`; with ``labels='patch'`` the class of each patch, see
    :func:`patch_classes`. The samples of a batch are checked and read once, whoever
    asks. Labels on accelerators are not checked, so as not to wait for them;
    :meth:`check` looks at every batch before it gets there.

    Args:
        model: The model, not wrapped. Its ``decode_head.ignore_index``, if it has one,
            says which pixels do not count.
        backbone: The module in it that has the prompt.

    Raises:
        UserError: If patches are to have labels, but overlap or are not padded at the
            bottom and right.
    """

    def __init__(self, model: nn.Module, backbone: nn.Module) -> None:
        self.num_classes = backbone.prompt.num_classes
        self.of_patches = backbone.prompt.labels == 'patch'
        head = getattr(model, 'decode_head', None)
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        self.ignored = getattr(head, 'ignore_index', IGNORED)
        if self.of_patches:
            self.patch = _side_by_side(backbone.patch_embed)
        self._options = self.num_classes, self.of_patches, self.ignored
        # Samples of the last batch, as it was loaded and as the model got it.
        self._checked: Sequence[Any] | None = None
        self._samples: Sequence[Any] | None = None
        self._classes: dict[bool, Tensor] = {}

    @classmethod
    def of(cls, model: nn.Module, backbone: nn.Module) -> LabelReader:
        """Return the one reader of a backbone, unless model or prompt changed."""
        new, known = cls(model, backbone), _READERS.get(backbone)
        if known is None or known._options != new._options:
            known = _READERS[backbone] = new
        return known

    def check(self, data_batch: Any) -> None:
        """Look at a batch, ``inputs`` and ``data_samples``, as it was loaded.

        Raises:
            UserError: If labels are missing or beyond the map, or a mask and its image
                differ in size.
        """
        batch = data_batch if isinstance(data_batch, dict) else {}
        images, samples = batch.get('inputs'), batch.get('data_samples') or ()
        if samples and samples is self._checked:
            return
        self._checked = samples
        if not samples or not (self.of_patches or _have_masks(samples)):
            image_classes(samples, self.num_classes, self.ignored)
            return
        sizes = [] if images is None else [image.shape[-2:] for image in images]
        for mask in _masks(samples, sizes):
            _check(mask, self.num_classes, self.ignored)

    def read(
        self, samples: Sequence[Any], size: Sequence[int], patches: bool | None = None
    ) -> Tensor:
        """Return the classes of the data samples that a model got.

        Args:
            samples: The data samples.
            size: Height and width of the images.
            patches: Whether of patches, (B, N), or images; as the prompt wants them by
                default.

        Raises:
            UserError: If patches are asked for and masks lack or have another size.
        """
        if samples is not self._samples:
            self._samples, self._classes = samples, {}
        patches = self.of_patches if patches is None else patches
        options = self.num_classes, self.ignored
        if patches not in self._classes and patches:
            masks = torch.cat(_masks(samples, [size] * len(samples)))
            self._classes[True] = patch_classes(masks, self.patch, *options)
        elif patches not in self._classes:
            self._classes[False] = image_classes(samples, *options)
        return self._classes[patches]


def image_classes(
    samples: Sequence[Any], num_classes: int, ignored: int = IGNORED
) -> Tensor:
    """Read which classes each image shows.

    * ``gt_label``: the label. Several labels count as several classes. If batch
      augmentation mixed images, the class with most weight.
    * ``gt_sem_seg``: the classes of the pixels in the crop, ``ignored`` left out.
    * ``gt_instances.labels``: the classes of the instances.

    Args:
        samples: Data samples of a batch.
        num_classes: Number of classes (K).
        ignored: Label of pixels that do not count.

    Returns:
        (B,) if every image has one class, else bool (B, K).

    Raises:
        UserError: If there are no labels, or, on the CPU, a label is not in 0..K-1.
    """
    if not samples:
        raise UserError(f'the batch has no data samples to read {LABELS} from.')
    of_masks: int | None = None
    if all('gt_label' in sample for sample in samples):
        labels = [_label(sample) for sample in samples]
        if all(len(label) == 1 for label in labels):
            return _check(torch.cat(labels), num_classes)
    elif _have_masks(samples):
        labels, of_masks = [sample.gt_sem_seg.data for sample in samples], ignored
    elif all('gt_instances' in sample for sample in samples):
        labels = [sample.gt_instances.labels for sample in samples]
    else:
        raise UserError(
            f'the training samples have no labels; needed is one of {LABELS}, but the '
            f'first sample has {sorted(samples[0].keys())}. Load annotations in '
            'train_dataloader.dataset.pipeline.'
        )
    return torch.stack([_present(label, num_classes, of_masks) for label in labels])


def patch_classes(
    masks: Tensor, patch: Sequence[int], num_classes: int, ignored: int = IGNORED
) -> Tensor:
    r"""Return the class of most pixels of each patch.

    :math:`y_{bn} = \arg\max_c \#\{u \in \mathrm{patch}_n : m_b(u) = c\}`, of equals
    the lower class. Masks are padded at the bottom and right to whole patches, as
    images are; neither padding nor ``ignored`` pixels count.

    Args:
        masks: Labels of pixels, (B, H, W).
        patch: Height and width of a patch.
        num_classes: Number of classes (K).
        ignored: Label of pixels that do not count.

    Returns:
        (B, N), rows of patches one after the other; -1 for patches without a pixel
        that counts.
    """
    high, wide = patch
    down, right = -masks.shape[-2] % high, -masks.shape[-1] % wide
    masks = F.pad(masks.long(), (0, right, 0, down), value=ignored)
    masks = _check(masks, num_classes, ignored)
    pixels = masks.unfold(1, high, high).unfold(2, wide, wide)
    pixels = pixels.flatten(1, 2).flatten(2)  # (B, N, pixels of a patch)
    counts = pixels.new_zeros(*pixels.shape[:2], num_classes + 1, dtype=torch.int32)
    counts.scatter_add_(2, pixels, counts.new_ones(()).expand_as(pixels))
    best, counts = counts[..., :-1].argmax(dim=2), counts[..., :-1].sum(dim=2)
    return torch.where(counts > 0, best, -1)


def _label(sample: Any) -> Tensor:
    label = sample.gt_label.reshape(-1)
    if len(label) == 1 and 'gt_score' in sample:
        return sample.gt_score.argmax().reshape(1)
    return label


def _present(labels: Tensor, num_classes: int, ignored: int | None = None) -> Tensor:
    """Tell for each class whether it occurs, bool (num_classes,)."""
    present = labels.new_zeros(num_classes + 1, dtype=torch.bool)
    present[_check(labels.reshape(-1), num_classes, ignored)] = True
    return present[:num_classes]


def _check(labels: Tensor, num_classes: int, ignored: int | None = None) -> Tensor:
    """Return labels with ``num_classes`` for ignored ones; raise for any other."""
    counted = labels = labels.long()
    if ignored is not None:
        if 0 <= ignored < num_classes:
            raise UserError(
                f'label {ignored} cannot be both ignored and one of the {num_classes} '
                'classes. Use another label for ignored pixels in the data, and as '
                'ignore_index of the head.'
            )
        counted = labels.masked_fill(labels == ignored, 0)
        labels = labels.masked_fill(labels == ignored, num_classes)
    if labels.device.type == 'cpu' and labels.numel():
        low, high = (int(bound) for bound in counted.aminmax())
        if low < 0 or high >= num_classes:
            wrong = low if low < 0 else high
            but = '' if ignored is None else f', or {ignored} for pixels without one'
            raise UserError(
                f'label {wrong} is beyond the map from classes to prompts; labels must '
                f'be 0 to num_classes - 1 = {num_classes - 1}{but}. Correct the '
                'num_classes of the prompt or the data.'
            )
    return labels


def _have_masks(samples: Sequence[Any]) -> bool:
    return all('gt_sem_seg' in sample for sample in samples)


def _masks(samples: Sequence[Any], sizes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the mask of each sample, (1, H, W), which has the size of its image."""
    if not _have_masks(samples):
        raise UserError(
            "labels='patch' needs masks, gt_sem_seg, in every data sample, but the "
            f'first one has {sorted(samples[0].keys())}. Load annotations, or set '
            "labels='image' in the prompt."
        )
    masks = [sample.gt_sem_seg.data for sample in samples]
    for sample, mask, size in zip(samples, masks, sizes):
        if tuple(mask.shape[-2:]) != tuple(size):
            name = sample.get('seg_map_path') or sample.get('img_path', '')
            raise UserError(
                f'the mask has size {tuple(mask.shape[-2:])}, but its image '
                f'{tuple(size)}. {name} Put LoadAnnotations before what changes the '
                'size of images.'
            )
    return masks


def _side_by_side(embed: nn.Module) -> tuple[int, int]:
    """Return the size of patches that tile images from the upper left corner."""
    conv, padding = embed.projection, embed.adaptive_padding
    padded = padding is not None and padding.padding == 'corner'
    tiles = conv.stride == conv.kernel_size and conv.dilation == (1, 1)
    if not padded or not tiles:
        raise UserError(
            "labels='patch' needs patches side by side, padded at the bottom and right "
            f'(padding="corner"), but the patch embedding is {conv}. Set '
            "labels='image' in the prompt, or leave patch_cfg out."
        )
    return tuple(conv.kernel_size)
