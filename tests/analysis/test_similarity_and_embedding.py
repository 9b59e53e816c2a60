# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Cosines between prompts, and points of a layer."""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmvpt.analysis import layer_points, place, prompt_similarity, read_layers
from mmvpt.analysis.embedding import KINDS
from tests.analysis.models import backbone, images


def cosine(a, b):
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def test_cosines_of_deep_prompts():
    vit = backbone('deep')
    found = prompt_similarity(vit, images())
    assert found['layer'].tolist() == [0, 0, 1, 1, 2, 2]
    assert found['prompt'].tolist() == [0, 1] * 3
    p = vit.prompt.tokens.detach()
    assert found['cosine'][0, 3] == pytest.approx(cosine(p[0, 0], p[1, 1]))
    np.testing.assert_allclose(np.diag(found['cosine']), 1)
    across = [cosine(a, b) for a in p[0] for b in p[2]]
    assert found['means'][0, 2] == pytest.approx(np.mean(across))
    assert found['means'][1, 1] == pytest.approx(cosine(*p[1]))


def test_cosines_of_prompts_that_depend_on_the_image():
    vit, x = backbone('adaptive'), images()
    found = prompt_similarity(vit, x)['cosine']
    layers = read_layers(vit, x)
    first, last = layers[0].prompts[0], layers[2].prompts
    expected = [cosine(first[1], one[0]) for one in last]
    assert found[1, 4] == pytest.approx(np.mean(expected))
    with_gaps = prompt_similarity(backbone('davpt, no prompts between'), x)
    assert with_gaps['layers'].tolist() == [2]


def points(classes, space='query', **options):
    vit, x = backbone(), images(len(classes))
    batches = [(x[:2], classes[:2]), (x[2:], classes[2:])]
    return vit, x, layer_points(vit, batches, None, space, **options)


def test_points_of_a_guided_layer():
    classes = torch.tensor([1, 3, 1, 4])
    vit, x, found = points(classes, max_patches=10)
    kind, number, group = (found[k] for k in ('kind', 'number', 'group'))
    assert int(found['layer']) == 2
    assert np.bincount(kind).tolist() == [4, 3, 4, 10]
    assert number[kind == 1].tolist() == [1, 3, 4]
    assert group[kind == 1].tolist() == [2, 0, 2]
    assert group[kind == 2].tolist() == [2, 0, 2, 2]
    np.testing.assert_allclose(np.linalg.norm(found['vectors'], axis=1), 1)
    layer = vit.layers[2]
    entered = read_layers(vit, x)[2]
    with torch.no_grad():
        queries = F.linear(
            layer.ln1(torch.cat([entered.prompts[0], entered.tokens[:, 0]])),
            layer.attn.qkv.weight[:12],
            layer.attn.qkv.bias[:12],
        )
    mean = queries[4:][classes == 1].mean(0)
    expected = torch.stack([queries[1], mean])
    at = [1, int(np.flatnonzero(kind == KINDS.index('class mean'))[0])]
    expected = F.normalize(expected, dim=1).numpy()
    np.testing.assert_allclose(found['vectors'][at], expected, rtol=1e-9, atol=1e-12)


def test_images_of_several_classes_and_no_map():
    several = torch.zeros(4, 6, dtype=torch.bool)
    several[0, [0, 1]] = several[1, 1] = several[2, 5] = True
    _, _, found = points(several, 'key')
    kind = found['kind']
    assert found['number'][kind == 1].tolist() == [0, 1, 5]
    assert found['number'][kind == 2].tolist() == [0, 1, 5, -1]
    vit = backbone('deep')
    found = layer_points(vit, [(images(), torch.tensor([0, 1]))], 1, 'normed')
    assert (found['group'][found['kind'] > 0] == -1).all()


def test_what_has_no_points():
    with pytest.raises(ValueError, match="space must be one of .* got 'value'"):
        points(torch.arange(4), 'value')
    with pytest.raises(ValueError, match='no images'):
        layer_points(backbone(), [])
    batch = [(images(), torch.tensor([0, 1]))]
    with pytest.raises(ValueError, match='layer 1 has no prompts'):
        layer_points(backbone('davpt, no prompts between'), batch, 1)
    bare = backbone('deep', with_cls_token=False, out_type='featmap')
    with pytest.raises(ValueError, match='no CLS token'):
        layer_points(bare, batch)


def test_places(monkeypatch):
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(12, 5)) * [9, 3, 0.1, 0.1, 0.1]
    found = place(vectors, 'pca')
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    expected = centred @ axes[:, ::-1][:, :2]
    np.testing.assert_allclose(abs(found), abs(expected), atol=1e-9)
    first, second = (place(vectors, 'tsne', seed=3) for _ in range(2))
    assert first.shape == (12, 2) and np.array_equal(first, second)
    with pytest.raises(ValueError, match="method must be one of .* got 'lda'"):
        place(vectors, 'lda')
    with pytest.raises(ValueError, match='3 points are too few'):
        place(vectors[:3], 'pca')
    monkeypatch.setitem(sys.modules, 'umap', None)
    with pytest.raises(ModuleNotFoundError, match='pip install umap-learn'):
        place(vectors, 'umap')
