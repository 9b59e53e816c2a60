# make demo: every method on digits 5-9, one recipe, three draws of the training images.
# tools/demo.py exports the images and pretrains the backbone first.
name = 'demo'
protocol = 'own'
seeds = [0, 1, 2]
backbone = 'vit-digits'
tasks = dict(digits=dict(title='Digits 5-9'))

_data = 'data/digits-target-seed{seed}'
options = {
    'train_dataloader.dataset.data_root': _data,
    'val_dataloader.dataset.data_root': _data,
    'test_dataloader.dataset.data_root': _data,
    'model.backbone.init_cfg.checkpoint': 'work_dirs/demo/pretrain/epoch_15.pth',
    'default_hooks.checkpoint.interval': 30,
}


def _method(config):
    """Return the entry of a method; its runs lie in a folder of its short name."""
    folder = config.split('/')[1]
    return dict(config=f'configs/{config}_vit-digits_digits.py', folder=folder)


methods = {
    'linear probe, converged': _method('baselines/linear-converged'),
    'VPT-shallow': _method('vpt/vpt-shallow'),
    'VPT-deep': _method('vpt/vpt-deep'),
    'Gated Prompt Tuning': _method('gatedvpt/gatedvpt'),
    'VAPT': _method('vapt/vapt'),
    'DA-VPT': _method('davpt/davpt'),
    'DA-VPT+': _method('davpt/davpt-plus'),
    'full fine-tuning': _method('baselines/full'),
}
