# DA-VPT as its code is released, on Oxford Flowers-102, supervised ImageNet-21k
# ViT-B/16 (AugReg).
# Source: https://arxiv.org/abs/2505.23694, released code, vitb_flowers.yaml.
# Published: top-1 99.8, mean of the five FGVC tasks 91.94 (DA-VPT+, best epoch on
# test).
# Protocol: FGVC, train on train, select on val. The release picks the best of the late
# epochs on the test images; this reads them once, at the end.
# Its metric losses do not act, since the key of their weights is misspelt: there are
# none.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_augreg-in21k_flowers.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_augreg-in21k.py',
    '../_base_/datasets/fgvc_davpt.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

num_classes = 102
model = dict(
    backbone=dict(
        prompt=dict(
            num_classes=num_classes, num_guided_tokens=10, num_tokens=40, mask=False
        ),
        tunable='davpt-released',
    ),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(name='flowers'))
val_dataloader = dict(dataset=dict(name='flowers'))
test_dataloader = dict(dataset=dict(name='flowers'))
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=0.001, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=60.0)}),
)
