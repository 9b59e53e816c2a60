# LoRA of queries and values, rank 8, on Pascal Context, UPerNet, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# lr is that of prompts: sweep it before you compare. Biases and scales do not decay.
# Run: bash tools/dist_train.sh configs/baselines/lora_upernet-vit-base-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/upernet_vit-base-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(adapter=dict(type='LoRA', rank=8)))
optim_wrapper = dict(paramwise_cfg=dict(flat_decay_mult=0.0))
