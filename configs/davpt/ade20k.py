# DA-VPT+ on ADE20K, UPerNet, ViT-B/16 (AugReg).
# Published: no figure with this decoder and backbone known to us; with SETR-PUP on ViT-L
# mIoU 46.47 single-scale (davpt-plus_setr-pup-vit-large-p16_ade20k.py).
# DA-VPT with tuned biases of keys and values and the class token.
# A run of minutes on a CPU: docs/segmentation.md.
# Run: bash tools/dist_train.sh configs/davpt/ade20k.py 8
_base_ = ['./davpt_upernet-vit-base-p16_ade20k.py']

model = dict(backbone=dict(tunable='davpt+'))
