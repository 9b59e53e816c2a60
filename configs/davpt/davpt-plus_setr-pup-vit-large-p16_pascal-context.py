# DA-VPT+ on Pascal Context, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 50.40 single-scale, 51.28 multi-scale.
# DA-VPT with tuned biases of keys and values and the class token.
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_setr-pup-vit-large-p16_pascal-context.py 8
_base_ = ['./davpt_setr-pup-vit-large-p16_pascal-context.py']

model = dict(backbone=dict(tunable='davpt+'))
