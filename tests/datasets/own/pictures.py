# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Small images and masks on disk."""

import mmcv
import numpy as np
from PIL import Image


def picture(path, seed=0):
    """Write an image of 12x10 pixels, other pixels for another seed."""
    image = np.random.default_rng(seed).integers(0, 255, (10, 12, 3), dtype=np.uint8)
    mmcv.imwrite(image, str(path))


def class_folders(root, **counts):
    """Write ``counts`` images to a folder for each class."""
    for label, (name, count) in enumerate(counts.items()):
        for i in range(count):
            picture(root / name / f'{i}.png', seed=100 * label + i)
    return root


def pairs(root, count, folders=('images', 'masks'), values=(0, 1, 2), suffix='.png'):
    """Write images and masks; mask i shows value 0 and ``values[i % len(values)]``."""
    for i in range(count):
        picture(root / folders[0] / f'{i}.jpg', seed=i)
        mask = np.zeros((10, 12), np.uint8)
        mask[:5] = values[i % len(values)]
        (root / folders[1]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / folders[1] / f'{i}{suffix}')
    return root
