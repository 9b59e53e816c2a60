# default_runtime.py and SA2VP's second loss: a fifth of the total is that of the head on
# the prompts' own stream. The released code trains with mixed precision: add --amp.
_base_ = ['./default_runtime.py']

default_hooks = dict(companion_loss=dict(type='mmvpt.CompanionLossHook', weight=0.2))
