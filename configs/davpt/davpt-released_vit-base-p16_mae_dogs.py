# DA-VPT as its code is released, on Stanford Dogs, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2505.23694, released code, mae_dogs.yaml.
# Published: mean of the five FGVC tasks 83.20 (DA-VPT+, best epoch on test).
# Protocol: FGVC, train on train, select on val. The release picks the best of the late
# epochs on the test images; this reads them once, at the end.
# Its metric losses do not act, since its scale is 0: there are none.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_mae_dogs.py 1
_base_ = [
    '../_base_/models/davpt_vit-base-p16_mae.py',
    '../_base_/datasets/fgvc_davpt.py',
    '../_base_/schedules/davpt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

num_classes = 120
model = dict(
    backbone=dict(
        prompt=dict(
            num_classes=num_classes,
            num_guided_tokens=10,
            num_tokens=20,
            normalize='l2',
            mask=False,
        ),
        tunable=[
            'layers.*.attn.qkv.bias.value',
            'patch_embed.projection.bias',
            'layers.*.attn.proj.bias',
            'layers.*.ffn.layers.1.bias',
            'layers.*.ln2.bias',
            'cls_token',
        ],
    ),
    head=dict(num_classes=num_classes),
)
train_dataloader = dict(dataset=dict(name='dogs'))
val_dataloader = dict(dataset=dict(name='dogs'))
test_dataloader = dict(dataset=dict(name='dogs'))
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=0.001, weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=500.0)}),
)
