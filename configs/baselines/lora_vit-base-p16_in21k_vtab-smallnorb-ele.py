# LoRA of queries and values, rank 8, on smallNORB elevation of VTAB-1k, supervised
# ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2501.18936 (quoted there; rank unknown).
# Published: mean of the 8 Structured tasks 56.20.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md); one recipe for all tasks, nothing is swept.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/lora_vit-base-p16_in21k_vtab-smallnorb-ele.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/adapter_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(drop_path_rate=0.1, adapter=dict(type='LoRA', rank=8)),
    head=dict(num_classes=9),
)
train_dataloader = dict(dataset=dict(task='smallnorb_ele'))
val_dataloader = dict(dataset=dict(task='smallnorb_ele'))
test_dataloader = dict(dataset=dict(task='smallnorb_ele'))
