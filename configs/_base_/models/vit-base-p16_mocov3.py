# Classifier on the MoCo v3 ViT-B/16 (the encoder of the 300-epoch ViT-B), frozen.
# Methods differ in pooling and final norm, so each config states both.
_base_ = ['./vit-base-p16_in21k.py']

model = dict(backbone=dict(init_cfg=dict(checkpoint='mmvpt://vit-base-p16_mocov3')))
