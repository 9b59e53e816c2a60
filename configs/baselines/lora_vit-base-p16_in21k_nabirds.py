# LoRA of queries and values, rank 8, on NABirds, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2501.18936 (quoted there; rank unknown).
# Published: mean of the five FGVC tasks 89.46.
# Protocol: FGVC, train on train, select on val; one recipe for all tasks, nothing is
# swept.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/lora_vit-base-p16_in21k_nabirds.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/adapter_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(drop_path_rate=0.1, adapter=dict(type='LoRA', rank=8)),
    head=dict(num_classes=555),
)
train_dataloader = dict(dataset=dict(name='nabirds'))
val_dataloader = dict(dataset=dict(name='nabirds'))
test_dataloader = dict(dataset=dict(name='nabirds'))
