# LoRA and Adapter+: ssf.py, and the inner width (Adapters Strike Back,
# https://arxiv.org/abs/2406.06820, has 8, 16 and 32); 48 trials.
_base_ = ['./ssf.py']

space = {'model.backbone.adapter.rank': [4, 8, 16, 32]}
start = {'model.backbone.adapter.rank': 8}
