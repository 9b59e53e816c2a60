# SETR-PUP on the MAE ViT-B/16, frozen, as in Gated Prompt Tuning: two auxiliary heads,
# at the 5th and the 9th layer. The paper does not say which features the main head
# reads; here those of the last layer, without the final norm, as in SETR.
_base_ = ['./setr-pup_vit-large-p16.py']

model = dict(
    backbone=dict(
        arch='vit-b',
        out_indices=(4, 8, 11),
        init_cfg=dict(checkpoint='mmvpt://vit-base-p16_mae'),
    ),
    decode_head=dict(in_channels=768, in_index=2),
    auxiliary_head=[
        dict(head, in_channels=768) for head in _base_.model.auxiliary_head[:2]
    ],
)
