# VAPT on Oxford Flowers-102, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2501.18936 and its released code.
# Published: no figure of this method, task and backbone known to us.
# Protocol: FGVC, train on train, select on val.
# The paper has no such row: lr, weight_decay and num_tokens are placeholders, from
# where the search of the released code starts; sweep them on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vapt/vapt_vit-base-p16_mae_flowers.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mae.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='AdaptivePrompt', num_tokens=10, init='released'),
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='fresh-frozen',
    ),
    head=dict(num_classes=102),
)
train_dataloader = dict(dataset=dict(name='flowers'))
val_dataloader = dict(dataset=dict(name='flowers'))
test_dataloader = dict(dataset=dict(name='flowers'))
optim_wrapper = dict(optimizer=dict(lr=5.0, weight_decay=0.001))
