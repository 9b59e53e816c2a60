# DA-VPT+ on Pascal Context, UPerNet, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# DA-VPT with tuned biases of keys and values and the class token.
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_upernet-vit-base-p16_pascal-context.py 8
_base_ = ['./davpt_upernet-vit-base-p16_pascal-context.py']

model = dict(backbone=dict(tunable='davpt+'))
