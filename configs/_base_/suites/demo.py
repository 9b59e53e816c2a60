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

methods = {
    'linear probe, converged': dict(
        config='configs/baselines/linear-converged_vit-digits_digits.py'
    ),
    'VPT-shallow': dict(config='configs/vpt/vpt-shallow_vit-digits_digits.py'),
    'VPT-deep': dict(config='configs/vpt/vpt-deep_vit-digits_digits.py'),
    'Gated Prompt Tuning': dict(
        config='configs/gatedvpt/gatedvpt_vit-digits_digits.py'
    ),
    'VAPT': dict(config='configs/vapt/vapt_vit-digits_digits.py'),
    'DA-VPT': dict(config='configs/davpt/davpt_vit-digits_digits.py'),
    'DA-VPT+': dict(config='configs/davpt/davpt-plus_vit-digits_digits.py'),
    'full fine-tuning': dict(config='configs/baselines/full_vit-digits_digits.py'),
}
