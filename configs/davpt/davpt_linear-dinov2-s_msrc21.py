# DA-VPT, guided by the class of each patch, with a linear head.
# MSRC-21, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/davpt/davpt_linear-dinov2-s_msrc21.py
_base_ = [
    '../_base_/models/seg-linear_dinov2-s_focus.py',
    '../_base_/datasets/msrc21.py',
    '../_base_/schedules/msrc21_davpt_adamw_140i.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=_base_.model.decode_head.num_classes,
            num_guided_tokens=5,
            num_tokens=10,
            labels='patch',
        ),
    )
)
