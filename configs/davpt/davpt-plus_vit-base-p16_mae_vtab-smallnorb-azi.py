# DA-VPT+ on smallNORB azimuth of VTAB-1k, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2505.23694, Table 1, and its released code.
# Published: mean of the 8 Structured tasks 59.28 (best epoch on test).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# Also tunes biases of keys and values and the class token, as the paper says.
# mae_smallnorb_azi.yaml tunes biases of values, projections, MLP outputs and second
# norms; and the class token.
# All else is the config below.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_vit-base-p16_mae_vtab-smallnorb-azi.py 1
_base_ = ['./davpt_vit-base-p16_mae_vtab-smallnorb-azi.py']

model = dict(backbone=dict(tunable='davpt+'))
