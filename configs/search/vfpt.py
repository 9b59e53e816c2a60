# VFPT (https://arxiv.org/abs/2411.01327): the grid of VPT's code, sgd.py, and the ratios of
# the paper's analysis; 200 trials. Prompt lengths are those of VPT.
_base_ = ['./sgd.py']

space = {'model.backbone.prompt.ratio': [0.0, 0.3, 0.5, 0.7, 1.0]}
start = {'model.backbone.prompt.ratio': 0.5}
