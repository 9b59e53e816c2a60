# DA-VPT on the MAE ViT-B/16: the final norm, then the mean over patches and prompts.
_base_ = ['./davpt_vit-base-p16_augreg-in21k.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='mmvpt://vit-base-p16_mae'),
        pooling='prompts_and_patches',
        norm_before_pool=True,
        final_norm='pretrained',
    )
)
