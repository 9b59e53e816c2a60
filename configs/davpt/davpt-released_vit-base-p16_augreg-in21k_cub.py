# DA-VPT as its code is released, on CUB-200-2011, supervised ViT-B/16 (AugReg).
# Source: https://arxiv.org/abs/2505.23694, released code, vitb_cub200.yaml.
# Published: top-1 90.8 for DA-VPT+ (best epoch on test), not known to be this setting.
# The released set of biases and norms (312,008 tuned parameters with the head), the
# operands that its code compares whatever its options say, its first pass.
# Run: bash tools/dist_train.sh configs/davpt/davpt-released_vit-base-p16_augreg-in21k_cub.py 1
_base_ = ['./davpt_vit-base-p16_augreg-in21k_cub.py']

model = dict(backbone=dict(tunable='davpt-released'))
default_hooks = dict(
    semantic_mapping=dict(
        released=True, samples_per_class=10, pipeline='train', begin=1
    ),
    metric_guidance=dict(released=True, loss=dict(positives='all')),
)
