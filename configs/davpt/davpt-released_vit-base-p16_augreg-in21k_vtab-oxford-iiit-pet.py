# DA-VPT as its code is released, on Oxford-IIIT Pets of VTAB-1k, supervised
# ImageNet-21k ViT-B/16 (AugReg).
# Source: https://arxiv.org/abs/2505.23694, released code, vitb_pet.yaml.
# Published: mean of the 7 Natural tasks 81.98 (DA-VPT+, best epoch on test).
# Protocol: VTAB-1k, train on all 1,000 images, nothing is left to select on. The
# release picks the best of the late epochs on the test images; this reads them once, at
# the end.
# Its metric losses do not act, since the key of their weights is misspelt: there are
# none.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_augreg-in21k_vtab-oxford-iiit-pet.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_augreg-in21k.py',
    '../_base_/datasets/vtab1k_davpt_final.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

num_classes = 37
model = dict(
    backbone=dict(
        prompt=dict(
            num_classes=num_classes, num_guided_tokens=10, num_tokens=5, mask=False
        ),
        drop_path_rate=0.1,
        tunable='davpt-released',
    ),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(task='oxford_iiit_pet'))
test_dataloader = dict(dataset=dict(task='oxford_iiit_pet'))
val_cfg = None  # all 1,000 images train
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=0.001, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=100.0)}),
)
