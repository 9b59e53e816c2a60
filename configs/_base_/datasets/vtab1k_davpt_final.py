# vtab1k_davpt.py as DA-VPT's release trains: on all 1,000 images, none to validate on.
# The config that uses this also sets `val_cfg = None`; see vtab1k_final.py.
_base_ = ['./vtab1k_davpt.py']

train_dataloader = dict(dataset=dict(split='train800val200'))
val_dataloader = None
val_evaluator = None
