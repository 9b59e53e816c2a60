# LoRA of queries and values, rank 8, on ADE20K, SETR-PUP, ViT-L/16.
# Published: no figure of this method, decoder and backbone known to us.
# lr is that of prompts: sweep it before you compare.
# Run: bash tools/dist_train.sh configs/baselines/lora_setr-pup-vit-large-p16_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(adapter=dict(type='LoRA', rank=8)))
