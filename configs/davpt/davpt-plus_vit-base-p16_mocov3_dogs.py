# DA-VPT+ on Stanford Dogs, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2505.23694, Table 1, and its released code.
# Published: mean of the five FGVC tasks 86.16 (best epoch on test).
# Protocol: FGVC, train on train, select on val.
# Also tunes biases of keys and values and the class token, as the paper says.
# moco_dogs.yaml tunes biases of keys, values, projections, MLP outputs and second
# norms; and the first norms and the class token.
# All else is the config below.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_vit-base-p16_mocov3_dogs.py 1
_base_ = ['./davpt_vit-base-p16_mocov3_dogs.py']

model = dict(backbone=dict(tunable='davpt+'))
