# VTAB-1k, final training on all 1,000 images with the settings that val200 selected.
# No image is left to validate on, so the config that uses this also sets
# `val_cfg = None`. The last epoch counts; read 'test' once with tools/test.py.
_base_ = ['./vtab1k.py']

train_dataloader = dict(dataset=dict(split='train800val200'))
val_dataloader = None
val_evaluator = None
