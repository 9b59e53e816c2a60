# Mask2Former with a prompt's queries on DINOv2's ViT-B/14, as Rein's released configs
# have it. num_queries is the prompt's num_tokens, feat_channels its query_dims.
_base_ = ['./mask2former_vit-base-p16.py']

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        img_size=518,
        patch_size=14,
        final_norm=False,
        layer_scale_init_value=1e-5,
        init_cfg=dict(checkpoint='mmvpt://vit-base-p14_dinov2'),
    ),
    decode_head=dict(type='mmvpt.LinkedMask2FormerHead', replace_query_feat=True),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
