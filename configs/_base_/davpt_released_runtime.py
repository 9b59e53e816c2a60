# davpt_runtime.py with what DA-VPT's released code does (docs/methods/davpt.md): the
# operands that it compares and its division by all prompts whatever its options say,
# and a first pass over ten augmented images of each class. Weights, scale and the
# epoch of the first update are per task.
_base_ = ['./davpt_runtime.py']

default_hooks = dict(
    semantic_mapping=dict(released=True, samples_per_class=10, pipeline='train'),
    metric_guidance=dict(released=True, loss=dict(positives='all')),
)
