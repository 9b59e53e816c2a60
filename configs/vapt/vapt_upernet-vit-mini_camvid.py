# VAPT with UperNet.
# CamVid, a small ViT pretrained on CIFAR-10; docs/results.md.
# init is the default of the time when the figures were measured.
# Run: python tools/train.py configs/vapt/vapt_upernet-vit-mini_camvid.py
_base_ = [
    '../_base_/models/upernet_vit-mini_cifar10.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/camvid_adamw_250i.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='AdaptivePrompt', num_tokens=10, drop_rate=0.0, init='small')
    )
)
