# setr-pup_vit-base-p16_mae.py on the MoCo v3 ViT-B/16.
_base_ = ['./setr-pup_vit-base-p16_mae.py']

model = dict(backbone=dict(init_cfg=dict(checkpoint='mmvpt://vit-base-p16_mocov3')))
