# DA-VPT+ with UperNet, guided by the class of each patch.
# CamVid, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/davpt/davpt-plus-patch_upernet-vit-mini_camvid.py
_base_ = ['./davpt-plus_upernet-vit-mini_camvid.py']

model = dict(backbone=dict(prompt=dict(labels='patch')))
