# As vpt_sgd_100e.py, but warm-up and cosine move with every iteration, so the first
# epoch trains too. The released code of VPT, Gated Prompt Tuning and VAPT moves once per
# epoch and trains nothing in the first.
_base_ = ['./vpt_sgd_100e.py']

param_scheduler = dict(convert_to_iter_based=True)
