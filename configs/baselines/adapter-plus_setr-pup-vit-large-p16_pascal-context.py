# Adapter+, width 8, on Pascal Context, SETR-PUP, ViT-L/16.
# Published: no figure of this method, decoder and backbone known to us.
# lr is that of prompts: sweep it before you compare.
# Run: bash tools/dist_train.sh configs/baselines/adapter-plus_setr-pup-vit-large-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(adapter=dict(type='AdapterPlus', rank=8)))
