# DA-VPT+ on ADE20K, UPerNet, dinov3-b.
# Published: no figure of this method, backbone and data known to us.
# Values are those of the recipe of upernet_adamw_160k: choose lr and weight decay on
# val. docs/backbones.md says where weights come from.
# Written by: python tools/zoo.py --method davpt-plus --backbone dinov3-b --data ade20k --head upernet
# Run: bash tools/dist_train.sh configs/davpt/davpt-plus_upernet-dinov3-b_ade20k.py 8
_base_ = [
    '../_base_/models/upernet_vit-base-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_davpt_runtime.py',
]

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(
        arch='dinov3-b',
        img_size=512,
        patch_size=16,
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='mmvpt://vit-base-p16_dinov3'
        ),
        prompt=dict(type='DistributionAwarePrompt', init_divisor=8.0, num_classes=150),
        tunable='davpt+',
    ),
)
