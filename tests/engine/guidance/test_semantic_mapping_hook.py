# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""SemanticMappingHook: the first map, its updates, and what a checkpoint holds."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import TRANSFORMS
from mmpretrain.models.backbones import VisionTransformer

from mmvpt.checkpoint import read_checkpoint
from mmvpt.engine.guidance.class_pass import unprompted
from mmvpt.engine.guidance.clustering import cosine_kmeans, normalize_rows
from mmvpt.engine.hooks import SemanticMappingHook
from tests.engine.guided_runs import NUM_CLASSES, ToyImages, build, config, witness


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def hooks(**options):
    """Return custom hooks with these options of the mapping."""
    mapping = dict(type='mmvpt.SemanticMappingHook', **options)
    return [mapping, dict(type='mmvpt.MetricGuidanceHook'), dict(type='Witness')]


def history(tmp_path):
    """Return the rows of class_to_prompt.jsonl."""
    (file,) = tmp_path.glob('*/class_to_prompt.jsonl')
    return [json.loads(line) for line in file.read_text().splitlines()]


def literal_means(features, labels):
    """Return the mean of each class that has features, and which classes have."""
    seen = sorted(set(labels))
    rows = [
        torch.stack([f for f, y in zip(features, labels) if y == label]).mean(0)
        for label in seen
    ]
    return torch.stack(rows), seen


def plain_vit(backbone):
    """Return mmpretrain's ViT with the frozen weights."""
    arch = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
    vit = VisionTransformer(arch, img_size=16, patch_size=8)
    vit.load_state_dict(
        {k: v for k, v in backbone.state_dict().items() if k in vit.state_dict()}
    )
    vit.train(False)
    return vit


def test_first_map_is_kmeans_of_the_unprompted_class_means(tmp_path):
    class Start(Hook):
        priority = 'VERY_HIGH'

        def before_train(self, runner):
            self.vit = plain_vit(runner.model.backbone)

    runner, start = build(tmp_path, train_cfg__max_epochs=1), Start()
    runner.register_hook(start)
    runner.train()
    vit, data = start.vit, ToyImages()
    with torch.no_grad():
        images = torch.stack([image.double() for image in data.images])
        means, seen = literal_means(vit(images)[0], data.labels)
    assert seen == list(range(NUM_CLASSES))
    generator = torch.Generator().manual_seed(0)
    clusters, _ = cosine_kmeans(normalize_rows(means), 3, generator=generator)
    first = history(tmp_path)[0]
    assert first['map'] == clusters.tolist()
    assert first['moved'] == NUM_CLASSES and first['iter'] == 0
    assert first['sizes'] == clusters.bincount(minlength=3).tolist()


class Notes(Hook):
    """Notes features and labels of every training iteration."""

    def before_train(self, runner):
        self.rows = []
        runner.model.backbone.register_forward_hook(self.note)

    def note(self, module, args, output):
        if module.training:
            self.feature = output[-1].detach()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        labels = [int(sample.gt_label) for sample in data_batch['data_samples']]
        self.rows.append((runner.epoch, self.feature, labels))


@pytest.mark.parametrize('begin', [0, 1])
def test_updates_are_kmeans_of_the_epochs_means_from_the_last_centroids(
    tmp_path, begin
):
    runner = build(
        tmp_path,
        custom_hooks=hooks(begin=begin),
        train_cfg__max_epochs=4,
        optim_wrapper__optimizer__lr=0.1,
    )
    notes = Notes()
    runner.register_hook(notes)
    starts = []
    mapping = next(h for h in runner.hooks if isinstance(h, SemanticMappingHook))
    cluster = mapping.cluster

    def spy(*args):
        found = cluster(*args)
        starts.append(found[1])
        return found

    mapping.cluster = spy
    runner.train()
    rows = history(tmp_path)
    assert [row['epoch'] for row in rows] == [0, *range(begin, 4)]
    for start, row in zip(starts, rows[1:]):
        steps = [step for step in notes.rows if step[0] == row['epoch']]
        features = torch.cat([step[1] for step in steps])
        means, seen = literal_means(features, [y for step in steps for y in step[2]])
        clusters, _ = cosine_kmeans(normalize_rows(means), 3, start)
        assert seen == list(range(NUM_CLASSES)) and row['unseen'] == 0
        assert row['map'] == clusters.tolist()
    changes = [
        sum(a != b for a, b in zip(x['map'], y['map'])) for x, y in zip(rows, rows[1:])
    ]
    assert [row['moved'] for row in rows[1:]] == changes and sum(changes) > 0


def test_checkpoint_holds_the_updated_map_and_fresh_sums(tmp_path):
    runner = build(tmp_path, train_cfg__max_epochs=2)
    runner.train()
    for epoch in (1, 2):
        state = read_checkpoint(tmp_path / f'epoch_{epoch}.pth')['state_dict']
        prompt = {k.removeprefix('backbone.prompt.'): v for k, v in state.items()}
        assert prompt['class_to_prompt'].tolist() == history(tmp_path)[epoch]['map']
        assert prompt['centroids'].any()
        assert not prompt['class_sums'].any() and not prompt['class_counts'].any()


def test_updates_every_n_iterations(tmp_path):
    changes = dict(
        train_cfg=dict(_delete_=True, by_epoch=False, max_iters=10, val_interval=100),
        train_dataloader__sampler__type='mmvpt.SeededInfiniteSampler',
        default_hooks__checkpoint__by_epoch=False,
    )
    mapping = dict(by_epoch=False, interval=4, begin=3)
    runner = build(tmp_path, custom_hooks=hooks(**mapping), **changes)
    runner.train()
    assert [row['iter'] for row in history(tmp_path)] == [0, 3, 7]
    # Two iterations of six images since the last update.
    assert runner.model.backbone.prompt.class_counts.sum() == 12
    with pytest.raises(ValueError, match='no epoch ends. Set by_epoch=False'):
        build(tmp_path / 'b', custom_hooks=hooks(), **changes).train()


def test_a_resumed_run_keeps_the_map_that_came_with_the_checkpoint(tmp_path):
    build(tmp_path / 'a', train_cfg__max_epochs=1).train()
    runner = build(tmp_path / 'b', load_from=str(tmp_path / 'a' / 'epoch_1.pth'))
    runner.train()
    rows = history(tmp_path / 'b')
    assert [row['epoch'] for row in rows] == [0, 1, 2] and rows[0]['iter'] == 6
    before = history(tmp_path / 'a')[-1]['map']
    moved = sum(x != y for x, y in zip(before, rows[0]['map']))
    assert rows[0]['moved'] == moved


@pytest.mark.parametrize('mapping', ['balanced', 'identity'])
def test_fixed_maps_stay(tmp_path, mapping):
    runner = build(tmp_path, model__backbone__prompt__mapping=mapping)
    before = runner.model.backbone.prompt.class_to_prompt.tolist()
    runner.train()
    assert witness(runner).maps == [before] * 3
    assert not list(tmp_path.glob('*/class_to_prompt.jsonl'))


def clustered(sums, counts, old, centroids=None, **options):
    """Run one clustering alone."""
    hook = SemanticMappingHook(normalize='none', **options)
    centroids = torch.zeros(2, 2) if centroids is None else torch.tensor(centroids)
    arguments = [torch.tensor(sums), torch.tensor(counts), torch.tensor(old)]
    return hook.cluster(*arguments, centroids, torch.Generator().manual_seed(0))


CENTROIDS = [[1.0, 0.0], [0.0, 1.0]]


def test_classes_not_seen_keep_their_prompt():
    sums = [[4.0, 0.0], [0.0, 0.0], [0.0, 3.0]]
    new, _ = clustered(sums, [2, 0, 1], [1, 1, 0], CENTROIDS)
    assert new.tolist() == [0, 1, 1]
    # At the start they get a random one; as released at every update.
    new, _ = clustered(sums, [2, 0, 1], [-1, -1, -1], CENTROIDS)
    assert new[1] in (0, 1) and new[[0, 2]].tolist() == [0, 1]
    drawn = torch.randint(2, (3,), generator=torch.Generator().manual_seed(0))
    new, _ = clustered(
        sums, [2, 0, 1], [1, 1 - int(drawn[1]), 0], CENTROIDS, released=True
    )
    assert new[1] == drawn[1]


def test_all_classes_in_one_group_change_nothing():
    sums, counts, old = [[1.0, 0.1], [1.0, 0.2], [1.0, 0.3]], [1, 1, 1], [0, 1, 1]
    new, centroids = clustered(sums, counts, old, CENTROIDS)
    assert new.tolist() == old and centroids.tolist() == CENTROIDS
    new, centroids = clustered(sums, counts, old, CENTROIDS, released=True)
    assert new.tolist() == old and not centroids.any()
    # The next update then starts from random classes.
    new, centroids = clustered(sums, counts, old, centroids.tolist())
    assert set(new.tolist()) == {0, 1} and centroids.any()


def test_unprompted_is_the_frozen_vit_and_puts_everything_back(tmp_path):
    for pooling, norm_last in (('cls', False), ('prompts', True)):
        backbone = build(
            tmp_path / pooling,
            model__backbone__pooling=pooling,
            model__backbone__prompt__num_tokens=3,
        ).model.backbone.train()
        prompt, images = backbone.prompt, torch.randn(2, 3, 16, 16)
        vit = plain_vit(backbone)
        with unprompted(backbone, norm_last):
            assert not backbone.training
            feature = backbone(images)[0]
        if pooling == 'cls':
            expected = vit(images)[0]
        else:
            vit.final_norm, vit.out_type = False, 'raw'
            expected = backbone.ln1(vit(images)[0][:, 1:].mean(1))
        torch.testing.assert_close(feature, expected)
        assert backbone.prompt is prompt and backbone.training
        assert backbone.pooling == pooling and backbone.norm_before_pool


def test_first_pass_options(tmp_path):
    seen = []

    @TRANSFORMS.register_module(force=True)
    class Look:
        def __call__(self, results):
            seen.append(results)
            return results

    mapping = dict(samples_per_class=2, pipeline=[dict(type='Look')], batch_size=5)
    build(
        tmp_path / 'a', custom_hooks=hooks(**mapping), train_cfg__max_epochs=1
    ).train()
    labels = [int(results['data_samples'].gt_label) for results in seen]
    assert sorted(labels) == sorted(2 * list(range(NUM_CLASSES)))
    with pytest.raises(ValueError, match='takes that of val_dataloader or test'):
        build(
            tmp_path / 'b', val_dataloader=None, val_cfg=None, val_evaluator=None
        ).train()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(interval=0), 'interval and max_iters must be at least 1'),
        (dict(begin=-1), 'begin at least 0'),
        (dict(pipeline='test'), "pipeline must be 'eval', 'train' or a list"),
        (dict(normalize='l1'), "normalize must be one of .*; got 'l1'"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        SemanticMappingHook(**options)


def test_errors_at_the_start(tmp_path):
    few = dict(
        model__backbone__prompt__num_guided_tokens=9, train_dataloader__dataset__size=6
    )
    with pytest.raises(ValueError, match='6 classes have training images, fewer than'):
        build(tmp_path, **few).train()
    unlabelled = dict(train_dataloader__dataset__labelled=False)
    with pytest.raises(ValueError, match='the training samples have no labels'):
        build(tmp_path, **unlabelled).train()
    deep = dict(_delete_=True, type='DeepPrompt', num_tokens=2)
    with pytest.raises(ValueError, match='SemanticMappingHook needs one backbone'):
        build(
            tmp_path,
            custom_hooks=config(tmp_path).custom_hooks[1:],
            model__backbone__prompt=deep,
        ).train()
