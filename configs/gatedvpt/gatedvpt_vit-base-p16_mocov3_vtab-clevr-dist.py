# Gated Prompt Tuning on Clevr distance of VTAB-1k, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Tables 2 and 5.
# Published: mean of the 8 Structured tasks 49.10 (one seed; the task alone only in a
# figure).
# Protocol: VTAB-1k, train on all 1,000 images, nothing is left to select on.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/gatedvpt/gatedvpt_vit-base-p16_mocov3_vtab-clevr-dist.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/vtab1k_final.py',
    '../_base_/schedules/gatedvpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='GatedPrompt', num_tokens=5, gate_init=10, drop_rate=0.1),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=6),
)
train_dataloader = dict(batch_size=128, dataset=dict(task='clevr_dist'))
test_dataloader = dict(dataset=dict(task='clevr_dist'))
val_cfg = None  # all 1,000 images train
optim_wrapper = dict(optimizer=dict(lr=1.0))
