# Classifier on the MAE ViT-B/16 (the encoder of mae_pretrain_vit_base.pth), frozen.
# Methods differ in pooling and final norm, so each config states both.
_base_ = ['./vit-base-p16_in21k.py']

model = dict(backbone=dict(init_cfg=dict(checkpoint='mmvpt://vit-base-p16_mae')))
