# Gated Prompt Tuning on CIFAR-100 of VTAB-1k, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Tables 2 and 5.
# Published: mean of the 7 Natural tasks 47.61 (one seed; the task alone only in a
# figure).
# Protocol: VTAB-1k, train on all 1,000 images, nothing is left to select on.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/gatedvpt/gatedvpt_vit-base-p16_mae_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mae.py',
    '../_base_/datasets/vtab1k_final.py',
    '../_base_/schedules/gatedvpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='GatedPrompt', num_tokens=1, gate_init=5, drop_rate=0.1),
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='pretrained',
    ),
    head=dict(num_classes=100),
)
train_dataloader = dict(batch_size=128)
val_cfg = None  # all 1,000 images train
optim_wrapper = dict(optimizer=dict(lr=0.25))
