# DA-VPT+ on CIFAR-100 of VTAB-1k, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2505.23694, Table 1, and its released code.
# Published: mean of the 7 Natural tasks 66.59 (best epoch on test).
# Also tunes biases of keys and values and the class token, as the paper says.
# The released mae_cifar100.yaml tunes more biases, and norms.
# All else is the config below.
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_vit-base-p16_mae_vtab-cifar100.py 1
_base_ = ['./davpt_vit-base-p16_mae_vtab-cifar100.py']

model = dict(backbone=dict(tunable='davpt+'))
