# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Graphs in files compute what the models compute."""

import re

import pytest
import torch
from mmengine.config import Config

from mmvpt.apis import export as module
from mmvpt.apis.export import ExportError, Graph, export, read_metadata
from mmvpt.apis.meaning import meaning_of
from mmvpt.apis.tuned_model import TunedModel
from mmvpt.checkpoint.tuned import TunedCheckpoint
from mmvpt.errors import UserError
from mmvpt.weights.families import FAMILIES
from tests.apis.test_many_tasks import ARCH, METHODS, classifier

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=16),
    dict(type='PackInputs'),
]
SHALLOW = dict(prompt=dict(type='ShallowPrompt', num_tokens=2))
LORA = dict(adapter=dict(type='LoRA'), prompt=dict(type='DeepPrompt', num_tokens=2))
EVERY = {**METHODS, 'shallow': SHALLOW, 'lora': LORA}


def task(name, **options):
    config = Config(dict(default_scope='mmpretrain', test_pipeline=PIPELINE))
    tuned = TunedCheckpoint({}, {}, {}, classes=('ant', 'bee', 'cat', 'dog'))
    return TunedModel(classifier(**EVERY[name], **options), config, tuned)


@pytest.fixture(scope='module')
def onnx_file(tmp_path_factory):
    """DA-VPT+: deep prompts, tuned biases and class token; once, since it is slow."""
    path = tmp_path_factory.mktemp('export') / 'model.onnx'
    model = task('davpt+')
    return model, path, export(model, path)


def test_onnxruntime_computes_the_same_at_every_batch_size(onnx_file):
    import onnxruntime

    model, path, facts = onnx_file
    assert facts['largest_difference'] < 1e-5
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    (source,), (sink,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.shape[1:]) == ('images', [3, 16, 16])
    assert (sink.name, sink.shape[1:]) == ('logits', [4])
    for count in (1, 3, 8):
        images = torch.randn(count, 3, 16, 16)
        (found,) = session.run(None, {'images': images.numpy()})
        with torch.no_grad():
            expected = model.model(images)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4)


@pytest.mark.sweep
def test_openvino_computes_the_same_at_two_batch_sizes(onnx_file):
    openvino = pytest.importorskip('openvino', reason='comes with `make test-all`')
    model, path, _ = onnx_file
    precision = {'INFERENCE_PRECISION_HINT': 'f32'}  # some CPUs compute in bfloat16
    compiled = openvino.compile_model(path, 'CPU', precision)
    for count in (1, 5):
        images = torch.randn(count, 3, 16, 16)
        found = torch.from_numpy(compiled({'images': images.numpy()})['logits'])
        with torch.no_grad():
            expected = model.model(images)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_static_prompts_are_folded(onnx_file):
    """The file has their keys and values; neither prompts nor tuned biases."""
    import onnx

    model, path, _ = onnx_file
    tensors = [(t.name, tuple(t.dims)) for t in onnx.load(path).graph.initializer]
    names = ' '.join(name for name, _ in tensors)
    assert 'prompt' not in names and 'tuned_bias' not in names
    prompt = model.model.backbone.prompt
    shapes = [shape for _, shape in tensors]
    assert (1, prompt.num_tokens, 32) in shapes  # layer 0: keys and values
    assert (1, prompt.num_guided_tokens, 16) in shapes  # layer 1, read at CLS: normed
    assert not list(path.parent.glob('.*'))


def test_metadata(onnx_file):
    model, path, facts = onnx_file
    found = read_metadata(path)
    assert found == {k: v for k, v in facts.items() if k != 'largest_difference'}
    assert found['classes'] == ['ant', 'bee', 'cat', 'dog']
    assert found['kind'] == 'classification'
    assert found['input']['shape'] == ['batch', 3, 16, 16]
    assert found['input']['mean'] == [127.0] and found['input']['std'] == [50.0]
    assert found['pipeline'] == PIPELINE


def check_program(name, tmp_path):
    path = tmp_path / 'model.pt2'
    model = task(name)
    facts = export(model, path, 'torch')
    assert facts['largest_difference'] < 1e-5
    assert read_metadata(path)['classes'] == ['ant', 'bee', 'cat', 'dog']
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = model.model(images)
        found = torch.export.load(path).module()(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', ['adaptive', 'gated'])
def test_programs_of_torch_export(name, tmp_path):
    check_program(name, tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize('name', EVERY)
def test_every_method(name, tmp_path):
    check_program(name, tmp_path)
    facts = export(task(name), tmp_path / 'model.onnx')
    assert facts['largest_difference'] < 1e-5


@pytest.mark.sweep
@pytest.mark.parametrize('name', ['deep', 'adaptive', 'lora'])
@pytest.mark.parametrize('family', FAMILIES)
def test_every_family(family, name, tmp_path):
    """Registers, rotation, SwiGLU and attention pools as graphs, in both formats."""
    model = task(name, arch=dict(ARCH, family=family))
    assert model.model.backbone.family == family
    for kind, ending in (('onnx', 'onnx'), ('torch', 'pt2')):
        facts = export(model, tmp_path / f'm.{ending}', kind)
        assert facts['largest_difference'] < 1e-5


@pytest.mark.sweep
def test_another_image_size(tmp_path):
    model = task('adaptive')
    facts = export(model, tmp_path / 'a.onnx', size=(24, 32))
    assert facts['input']['shape'] == ['batch', 3, 24, 32]
    assert facts['largest_difference'] < 1e-5


def test_the_model_is_left_as_it_was():
    model = task('davpt+').model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = Graph(model)
    assert set(model.state_dict()) == set(before)
    assert any('tuned_bias' in name for name in before)
    assert not any('tuned_bias' in name for name in graph.state_dict())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(graph(images), model(images), rtol=0, atol=1e-6)
        graph.model.backbone.prompt.tokens.mul_(2)  # folded: nobody looks
        torch.testing.assert_close(graph(images), model(images), rtol=0, atol=1e-6)


def test_a_file_that_computes_something_else_does_not_stay(tmp_path, monkeypatch):
    run = module._run
    monkeypatch.setattr(module, '_run', lambda path: lambda x: run(path)(x) + 1e-3)
    with pytest.raises(ExportError, match='differ by .*e-0'):
        export(task('linear'), tmp_path / 'a.pt2', 'torch')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('path', 'options', 'message'),
    [
        ('a.pt', {}, 'must end in .onnx'),
        ('a.onnx', dict(format='torch'), 'must end in .pt2'),
        ('a.xml', dict(format='openvino'), "format must be one of .*'openvino'"),
        ('no/a.onnx', {}, 'is no folder'),
    ],
)
def test_bad_arguments(tmp_path, path, options, message):
    with pytest.raises(ExportError, match=message):
        export(task('linear'), tmp_path / path, **options)


def test_what_cannot_be_traced_is_named(tmp_path):
    model = task('linear')
    model.model.head.forward = lambda feats: feats[-1] if feats[-1].any() else None
    with pytest.raises(ExportError, match='cannot be written as one graph'):
        export(model, tmp_path / 'a.pt2', 'torch')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('kind', 'dtype'),
    [
        ('onnx', 'float16'),
        ('torch', 'bfloat16'),
        pytest.param('onnx', 'bfloat16', marks=pytest.mark.sweep),
        pytest.param('torch', 'float16', marks=pytest.mark.sweep),
    ],
)
def test_weights_of_half_precision(tmp_path, dtype, kind):
    path = tmp_path / f'm.{"onnx" if kind == "onnx" else "pt2"}'
    facts = export(task('davpt+'), path, kind, dtype=dtype)
    assert facts['largest_difference'] < 1e-5
    assert 0 < facts['rounding'] < 0.1
    assert read_metadata(path)['weights'] == dtype
    if kind == 'onnx':
        import onnx

        found = onnx.load(path)
        half = getattr(onnx.TensorProto, dtype.upper())
        large = [t for t in found.graph.initializer if len(t.dims) > 1]
        stored = {t.name for t in large if t.data_type == half}
        assert len(stored) > len(large) / 2
        assert facts['opset'] == found.opset_import[0].version


def test_opset_is_stated(tmp_path):
    facts = export(task('linear'), tmp_path / 'm.onnx', opset=20)
    assert facts['opset'] == read_metadata(tmp_path / 'm.onnx')['opset'] == 20
    with pytest.raises(ExportError, match='opset is for format onnx'):
        export(task('linear'), tmp_path / 'm.pt2', 'torch', opset=20)
    with pytest.raises(ExportError, match='dtype must be one of'):
        export(task('linear'), tmp_path / 'm.onnx', dtype='int8')


class _Head(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        for name, value in options.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    ('part', 'options', 'words'),
    [
        ('head', {}, 'softmax over axis 1'),
        ('head', dict(thr=0.4, topk=None), 'sigmoid.*at least 0.4'),
        ('head', dict(thr=None, topk=2), 'sigmoid.*the 2 best'),
        ('decode_head', dict(out_channels=3), 'softmax over axis 1'),
        ('decode_head', dict(out_channels=1, threshold=0.4), 'sigmoid.*above 0.4'),
    ],
)
def test_what_outputs_mean_is_said(part, options, words):
    model = torch.nn.ModuleDict({part: _Head(**options)})
    setattr(model, part, model[part])
    found = meaning_of(model).in_words()
    assert re.match(words, found) and ('softmax' in found) == ('softmax' in words)


def test_several_tasks_at_once_are_refused():
    model = _Head(head=_Head(task_heads={}))
    with pytest.raises(UserError, match='several tasks at once'):
        meaning_of(model)


@pytest.mark.parametrize('kind', ['onnx', 'torch'])
def test_images_of_any_size(tmp_path, kind):
    model = task('davpt+')
    path = tmp_path / f'm.{"onnx" if kind == "onnx" else "pt2"}'
    facts = export(model, path, kind, any_size=True)
    assert facts['largest_difference'] < 1e-5
    assert read_metadata(path)['input']['shape'] == ['batch', 3, 'height', 'width']
    patch = facts['input']['multiples_of'][0]
    images = torch.randn(3, 3, 7 * patch, 5 * patch)
    if kind == 'onnx':
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        found = torch.from_numpy(session.run(None, {'images': images.numpy()})[0])
    else:
        found = torch.export.load(path).module()(images)
    with torch.no_grad():
        expected = model.model(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_prompts_that_depend_on_the_grid_are_for_one_size(tmp_path):
    with pytest.raises(ExportError, match='size'):
        export(task('adaptive'), tmp_path / 'm.pt2', 'torch', any_size=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_frozen_weights_in_half_precision_are_exported_as_rounded(tmp_path, dtype):
    """The graph computes in float32 with them."""
    model = task('davpt+', frozen_dtype='bfloat16')
    path = tmp_path / 'model.pt2'
    assert export(model, path, 'torch', dtype=dtype)['largest_difference'] < 1e-5
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = model.model(images)
        found = torch.export.load(path).module()(images)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03 * scale)
