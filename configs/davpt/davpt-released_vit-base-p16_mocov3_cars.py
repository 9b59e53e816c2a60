# DA-VPT as its code is released, on Stanford Cars, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2505.23694, released code, moco_cars.yaml.
# Published: mean of the five FGVC tasks 86.16 (DA-VPT+, best epoch on test).
# Protocol: FGVC, train on train, select on val. The release picks the best of the late
# epochs on the test images; this reads them once, at the end.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_mocov3_cars.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc_davpt.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/davpt_released_runtime.py',
]

num_classes = 196
model = dict(
    backbone=dict(
        prompt=dict(
            num_classes=num_classes,
            num_guided_tokens=20,
            num_tokens=10,
            guided_layers=(10, 11),
        ),
        drop_path_rate=0.0,
        tunable=[
            'layers.*.attn.qkv.bias.value',
            'patch_embed.projection.bias',
            'layers.*.attn.proj.bias',
            'layers.*.ffn.layers.1.bias',
            'layers.*.ln2.bias',
            'layers.*.attn.qkv.bias.key',
            'layers.*.ln1.*',
        ],
    ),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(name='cars'))
val_dataloader = dict(dataset=dict(name='cars'))
test_dataloader = dict(dataset=dict(name='cars'))
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=0.005, weight_decay=0.5),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=0.0002)}),
)
default_hooks = dict(
    semantic_mapping=dict(begin=10),
    metric_guidance=dict(visual_weight=0.05, cls_weight=0.05),
)
