# make demo-seg: segmentation of scenes of the digits 5-9, one recipe, two draws of scans
# and scenes. tools/demo_seg.py composes the scenes and pretrains the backbone first.
name = 'demo_seg'
protocol = 'own'
seeds = [0, 1]
backbone = 'vit-digits'
tasks = {'digit-scenes': dict(title='Scenes of the digits 5-9')}

_data = 'data/digit-scenes-seed{seed}'
options = {
    'train_dataloader.dataset.data_root': _data,
    'val_dataloader.dataset.data_root': _data,
    'test_dataloader.dataset.data_root': _data,
    'model.backbone.init_cfg.checkpoint': 'work_dirs/demo-seg/pretrain/iter_1000.pth',
}


def _method(config):
    """Return the entry of a method; its runs lie in a folder of its short name."""
    folder = config.split('/')[1]
    return dict(config=f'configs/{config}-vit-digits_digit-scenes.py', folder=folder)


methods = {
    'linear head': _method('baselines/probe_linear'),
    'UperNet': _method('baselines/frozen_upernet'),
    'VPT-deep': _method('vpt/vpt-deep_upernet'),
    'DA-VPT+': _method('davpt/davpt-plus_upernet'),
    'full fine-tuning': _method('baselines/full_upernet'),
}
