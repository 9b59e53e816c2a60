# VAPT on CUB-200-2011, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2501.18936 and its released code.
# Published: no figure of this method, task and backbone known to us.
# Protocol: FGVC, train on train, select on val.
# The paper has no such row: lr, weight_decay and num_tokens are placeholders, from
# where the search of the released code starts; sweep them on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vapt/vapt_vit-base-p16_mocov3_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='AdaptivePrompt', num_tokens=10, init='released'),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=200),
)
optim_wrapper = dict(optimizer=dict(lr=5.0, weight_decay=0.001))
