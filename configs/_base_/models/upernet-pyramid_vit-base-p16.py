# upernet_vit-base-p16.py with a Feature2Pyramid in place of the MultiLevelNeck, and
# wider heads, as mmsegmentation's mae-base_upernet and beit-base_upernet.
_base_ = ['./upernet_vit-base-p16.py']

model = dict(
    backbone=dict(out_indices=(3, 5, 7, 11)),
    neck=dict(
        _delete_=True,
        type='Feature2Pyramid',
        embed_dim=768,
        rescales=[4, 2, 1, 0.5],
        norm_cfg=dict(type='SyncBN'),
    ),
    decode_head=dict(channels=768),
    auxiliary_head=dict(in_index=2),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
