# Converged linear probe (L-BFGS, L2 chosen on validation).
# The demo's target task (digits 5-9).
# Run: python tools/train.py configs/baselines/linear-converged_vit-digits_digits.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/probe_lbfgs.py',
    '../_base_/default_runtime.py',
]

model = dict(neck=None)
