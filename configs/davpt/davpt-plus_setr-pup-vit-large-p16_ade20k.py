# DA-VPT+ on ADE20K, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 46.47 single-scale, 47.21 multi-scale.
# DA-VPT with tuned biases of keys and values and the class token: 13.7 M tuned
# parameters.
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_setr-pup-vit-large-p16_ade20k.py 8
_base_ = ['./davpt_setr-pup-vit-large-p16_ade20k.py']

model = dict(backbone=dict(tunable='davpt+'))
