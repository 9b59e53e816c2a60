# Rein with UperNet.
# CamVid, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/rein/rein_upernet-vit-mini_camvid.py
_base_ = [
    '../_base_/models/upernet_vit-mini_cifar10.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/camvid_adamw_250i.py',
]

model = dict(
    backbone=dict(
        final_norm=False,
        prompt=dict(type='RefiningPrompt', num_tokens=20, rank=8),
    )
)
