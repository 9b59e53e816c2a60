# Rein on ADE20K, a linear head, DINOv2's ViT-B/14.
# Source: https://arxiv.org/abs/2312.04265 and its released configs for ViT-L.
# Published: no figure of this decoder and data; the paper has Mask2Former on GTAV.
# Run: bash tools/dist_train.sh configs/rein/rein_linear-vit-base-p14-dinov2_ade20k.py 1
_base_ = [
    '../_base_/models/seg-linear_vit-base-p14_dinov2.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/rein_adamw_40k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='RefiningPrompt')))
train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(interval=4000))
