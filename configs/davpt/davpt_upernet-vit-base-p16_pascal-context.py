# DA-VPT on Pascal Context, UPerNet, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# Labels are the classes in the crop. Prompts and losses as with SETR-PUP, whose figures
# are in the head of davpt_setr-pup-vit-large-p16_pascal-context.py.
# Run: bash tools/dist_train.sh configs/davpt/davpt_upernet-vit-base-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/upernet_vit-base-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_davpt_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=_base_.model.decode_head.num_classes,
            init_divisor=8.0,
        )
    )
)
# one pass over the training images in batches of 16
default_hooks = dict(semantic_mapping=dict(interval=312))
