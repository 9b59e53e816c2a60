# DA-VPT on the MoCo v3 ViT-B/16: drop-path, and prompts that see one another, as most
# released configs have.
_base_ = ['./davpt_vit-base-p16_augreg-in21k.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='mmvpt://vit-base-p16_mocov3'),
        prompt=dict(mask=False),
        drop_path_rate=0.1,
        pooling='cls',
        final_norm='pretrained',
    )
)
