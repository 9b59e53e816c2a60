# VIPAMIN, shallow on CIFAR-100 of VTAB-1k, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2510.16446 and its released code.
# Published: mean of the 7 Natural tasks 62.60.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens as in the paper; sweep lr, num_matches and orthogonal on val
# (configs/search/vipamin.py).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vipamin/vipamin_vit-base-p16_mae_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mae.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='VipaminPrompt', num_matches=8, orthogonal=0.5, num_tokens=100
        ),
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='fresh-frozen',
    ),
    head=dict(num_classes=100),
)
train_dataloader = dict(batch_size=32)
