# Full fine-tuning, on Pascal Context, UPerNet, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# Run: bash tools/dist_train.sh configs/baselines/full_upernet-vit-base-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/upernet_vit-base-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(tunable='full', drop_path_rate=0.1))
# a custom key overrules norm_decay_mult, so norms have keys of their own
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            '.ln1.weight': dict(lr_mult=0.1, decay_mult=0.0),
            '.ln1.bias': dict(lr_mult=0.1, decay_mult=0.0),
            '.ln2.weight': dict(lr_mult=0.1, decay_mult=0.0),
            '.ln2.bias': dict(lr_mult=0.1, decay_mult=0.0),
            'backbone.pos_embed': dict(lr_mult=0.1, decay_mult=0.0),
            'backbone.cls_token': dict(lr_mult=0.1, decay_mult=0.0),
        }
    )
)
