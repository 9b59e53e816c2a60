# E2VPT (https://arxiv.org/abs/2307.13770): stage 1 of its procedure, the grid of VPT's
# code at the released numbers of tokens and key-value rows; 40 trials.
_base_ = ['./sgd.py']
