# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT in mmsegmentation's training by iterations, with labels of both kinds."""

import json

import pytest
import torch
from mmengine.hooks import Hook

from mmvpt.checkpoint import read_checkpoint
from mmvpt.engine.guidance.class_pass import unprompted
from mmvpt.engine.guidance.clustering import cosine_kmeans, normalize_rows
from tests.engine.guidance.test_labels import literal_patch_classes
from tests.engine.guided_runs import witness
from tests.engine.guided_seg_runs import IGNORED, NUM_CLASSES, ToyScenes, build


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def history(tmp_path):
    """Return the rows of class_to_prompt.jsonl of all runs in a work dir."""
    files = sorted(tmp_path.glob('*/class_to_prompt.jsonl'))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


class Notes(Hook):
    """Notes the feature map and the scenes of every iteration, and the first map's."""

    priority = 'VERY_HIGH'

    def before_train(self, runner):
        backbone, data = runner.model.backbone, ToyScenes()
        with torch.no_grad(), unprompted(backbone):
            self.first = backbone(data.images.double())[-1]
        self.rows = []
        backbone.register_forward_hook(self.note)

    def note(self, module, args, output):
        if module.training:
            self.feature = output[-1].detach()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        scenes = [sample.index for sample in data_batch['data_samples']]
        self.rows.append((self.feature, scenes))


def literal_sums(labels, features, scenes):
    """Sum features (B, C, H, W) of some scenes over classes, one by one."""
    sums, counts = torch.zeros(NUM_CLASSES, 16), [0] * NUM_CLASSES
    for feature, i in zip(features, scenes):
        mask = ToyScenes().masks[i].tolist()
        if labels == 'patch':
            classes = literal_patch_classes(mask, 8, 8)
            rows = [feature[:, n // 3, n % 3] for n in range(9)]
        else:
            classes = sorted({c for row in mask for c in row} - {IGNORED})
            rows = [feature.mean((1, 2))] * len(classes)
        for row, c in zip(rows, classes):
            if c >= 0:
                sums[c] += row
                counts[c] += 1
    return sums, torch.tensor(counts)


@pytest.fixture(scope='module', params=['image', 'patch'])
def whole(request, tmp_path_factory):
    """Train seven iterations without interruption."""
    torch.set_default_dtype(torch.float64)
    folder = tmp_path_factory.mktemp(request.param)
    runner, notes = build(folder, request.param), Notes()
    runner.register_hook(notes)
    runner.train()
    return request.param, folder, runner, notes


def test_maps_are_kmeans_of_the_means_of_labelled_features(whole):
    labels, folder, runner, notes = whole
    rows = history(folder)
    assert [row['iter'] for row in rows] == [0, 2, 5]
    sums, counts = literal_sums(labels, notes.first, range(12))
    seen = counts > 0
    assert 3 < seen.sum() <= NUM_CLASSES
    generator = torch.Generator().manual_seed(0)
    means = normalize_rows(sums[seen] / counts[seen][:, None])
    clusters, centroids = cosine_kmeans(means, 3, generator=generator)
    assert torch.tensor(rows[0]['map'])[seen].tolist() == clusters.tolist()
    assert rows[0]['unseen'] == int((~seen).sum())
    steps = [literal_sums(labels, *row) for row in notes.rows]
    for first, row, last in zip((0, 3), rows[1:], rows):
        sums = sum(step[0] for step in steps[first : first + 3])
        counts = sum(step[1] for step in steps[first : first + 3])
        seen = counts > 0
        means = normalize_rows(sums[seen] / counts[seen][:, None])
        clusters, found = cosine_kmeans(means, 3, centroids)
        new = torch.tensor(last['map'])
        if len(set(clusters.tolist())) > 1:  # else the map stays
            new[seen], centroids = clusters, found
        assert row['map'] == new.tolist()
    prompt = runner.model.backbone.prompt  # the last iteration follows the last map
    torch.testing.assert_close(prompt.class_sums, steps[6][0])
    assert torch.equal(prompt.class_counts, steps[6][1])
    assert len({tuple(row['map']) for row in rows}) > 1


def test_losses_are_logged_beside_the_tasks(whole):
    found = witness(whole[2]).losses
    assert len(found) == 7
    for losses in found:
        parts = ('decode.loss_ce', 'loss_metric_visual', 'loss_metric_cls')
        assert losses['loss'] == pytest.approx(sum(losses[part] for part in parts))
        assert losses['loss_metric_visual'] > 0


@pytest.mark.parametrize('at', [2, 3, 4])
def test_resumed_runs_end_the_same_around_a_map(whole, tmp_path, at):
    """Before the map's iteration, right behind it, and with sums half-way."""
    labels, folder, *_ = whole
    build(
        tmp_path,
        labels,
        resume=True,
        load_from=str(folder / f'iter_{at}.pth'),
    ).train()
    found, expected = (
        read_checkpoint(path / 'iter_7.pth')['state_dict']
        for path in (tmp_path, folder)
    )
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert [row['map'] for row in history(tmp_path)] == [
        row['map'] for row in history(folder) if row['iter'] >= at
    ]


def test_checkpointed_accumulated_bfloat16_training(tmp_path):
    """The options of large models together, with mmseg's own preprocessor."""
    torch.set_default_dtype(torch.float32)
    runner = build(
        tmp_path,
        model__backbone__with_cp=True,
        model__data_preprocessor=dict(
            _delete_=True, type='SegDataPreProcessor', size=(32, 24)
        ),
        optim_wrapper__type='mmvpt.AutocastOptimWrapper',
        optim_wrapper__accumulative_counts=2,
        train_cfg__max_iters=4,
    )
    prompt = runner.model.backbone.prompt
    seen = []
    runner.model.backbone.guide.register_forward_hook(
        lambda module, args, output: seen.append(args[1]['output_patches'])
    )
    before = prompt.guided_tokens.detach().clone()
    runner.train()
    assert len(seen) == 4 * 2  # two layers, recomputed inside the checkpoint alone
    assert {(x.dtype, tuple(x.shape)) for x in seen} == {(torch.bfloat16, (4, 12, 16))}
    for losses in witness(runner).losses:
        assert all(map(torch.isfinite, map(torch.tensor, losses.values())))
    assert not torch.equal(prompt.guided_tokens, before)
    assert prompt.guided_tokens.isfinite().all()


def test_with_cp_changes_no_number(tmp_path, whole):
    labels, folder, *_ = whole
    runner = build(tmp_path, labels, model__backbone__with_cp=True)
    runner.train()
    for losses, expected in zip(witness(runner).losses, witness(whole[2]).losses):
        assert losses == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ('labels', 'changes', 'message'),
    [
        (
            'patch',
            dict(train_dataloader__dataset__labelled=False),
            r"labels='patch' needs masks, gt_sem_seg, in every data sample",
        ),
        (
            'image',
            dict(train_dataloader__dataset__labelled=False),
            'training samples have no labels',
        ),
        (
            'patch',
            dict(model__backbone__prompt__num_classes=5),
            'data has 7 classes, but the prompt has num_classes=5',
        ),
        (
            'patch',
            dict(model__backbone__out_type='cls_token'),
            "needs features of patches, but out_type='cls_token'",
        ),
        (
            'patch',
            dict(model__decode_head__ignore_index=3),
            'label 3 cannot be both ignored and one of the 7',
        ),
        (
            'patch',
            dict(model__backbone__prompt__labels='pixel'),
            r"labels must be one of 'image', 'patch'; got 'pixel'",
        ),
    ],
)
def test_errors_at_the_start(tmp_path, labels, changes, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, labels, **changes).train()


def test_limited_first_pass(tmp_path):
    runner, seen = build(tmp_path, train_cfg__max_iters=1), []
    mapping = next(h for h in runner.hooks if hasattr(h, 'first_pass'))
    mapping.first_pass['max_images'] = 10
    update = mapping._update
    counts = runner.model.backbone.prompt.class_counts
    mapping._update = lambda runner, start: (
        seen.append(int(counts.sum())),
        update(runner, start),
    )
    runner.train()
    everything = sum(
        label >= 0
        for mask in ToyScenes().masks.tolist()
        for label in literal_patch_classes(mask, 8, 8)
    )
    assert 0 < seen[0] < everything
