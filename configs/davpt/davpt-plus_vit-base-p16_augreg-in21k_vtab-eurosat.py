# DA-VPT+ on EuroSAT of VTAB-1k, supervised ImageNet-21k ViT-B/16 (AugReg).
# Source: https://arxiv.org/abs/2505.23694, Table 1, and its released code.
# Published: mean of the 4 Specialized tasks 86.47 (best epoch on test).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# Also tunes biases of keys and values and the class token, as the paper says.
# vitb_eurosat.yaml tunes biases of values, projections, MLP outputs and second norms;
# and the first norms and the class token.
# All else is the config below.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_vit-base-p16_augreg-in21k_vtab-eurosat.py 1
_base_ = ['./davpt_vit-base-p16_augreg-in21k_vtab-eurosat.py']

model = dict(backbone=dict(tunable='davpt+'))
