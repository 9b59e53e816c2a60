# Classifier on the ViT-B/16 that AugReg (https://arxiv.org/abs/2106.10270) trained on
# ImageNet-21k, timm's vit_base_patch16_224.augreg_in21k, frozen. DA-VPT uses it. It is
# not the checkpoint of VPT and most other papers (vit-base-p16_in21k.py): compare
# methods on one of them.
_base_ = ['./vit-base-p16_in21k.py']

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='mmvpt://vit-base-p16_augreg-in21k'))
)
