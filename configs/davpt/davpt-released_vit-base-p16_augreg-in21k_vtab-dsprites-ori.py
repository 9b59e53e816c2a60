# DA-VPT as its code is released, on dSprites orientation of VTAB-1k, supervised
# ImageNet-21k ViT-B/16 (AugReg).
# Source: https://arxiv.org/abs/2505.23694, released code, vitb_dspr_ori.yaml.
# Published: mean of the 8 Structured tasks 59.96 (DA-VPT+, best epoch on test).
# Protocol: VTAB-1k, train on all 1,000 images, nothing is left to select on. The
# release picks the best of the late epochs on the test images; this reads them once, at
# the end.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_augreg-in21k_vtab-dsprites-ori.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_augreg-in21k.py',
    '../_base_/datasets/vtab1k_davpt_final.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/davpt_released_runtime.py',
]

num_classes = 16
model = dict(
    backbone=dict(
        prompt=dict(
            num_classes=num_classes,
            num_guided_tokens=10,
            num_tokens=20,
            guided_layers=list(range(3, 12)),
            mask=False,
        ),
        tunable=[
            'layers.*.attn.qkv.bias.value',
            'patch_embed.projection.bias',
            'layers.*.attn.proj.bias',
            'layers.*.ffn.layers.1.bias',
            'layers.*.ln2.bias',
            'layers.*.ln1.*',
            'cls_token',
        ],
    ),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(task='dsprites_ori'))
test_dataloader = dict(dataset=dict(task='dsprites_ori'))
val_cfg = None  # all 1,000 images train
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=0.01, weight_decay=0.001),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=0.1)}),
)
default_hooks = dict(
    semantic_mapping=dict(begin=1),
    metric_guidance=dict(visual_weight=0.01, cls_weight=0.01),
)
