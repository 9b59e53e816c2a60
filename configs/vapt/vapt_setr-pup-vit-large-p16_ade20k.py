# VAPT on ADE20K, SETR-PUP, ViT-L/16.
# Published: no figure of this method, decoder and backbone known to us.
# Its paper has a figure for segmentation, its code has none. Tokens as VPT-deep here,
# the rest as its classifiers: values to sweep.
# Run: bash tools/dist_train.sh configs/vapt/vapt_setr-pup-vit-large-p16_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='AdaptivePrompt', num_tokens=20)))
