# A prompt moves before every epoch but the first (PRO-VPT). The released loop:
# default_hooks.relocation.reward=released, .clip_scores=0.25, .update_every=2.
_base_ = ['./default_runtime.py']

default_hooks = dict(relocation=dict(type='mmvpt.PromptRelocationHook'))
