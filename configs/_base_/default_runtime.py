default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmvpt.AtomicCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # tools/test.py --show-dir switches it on
    visualization=dict(type='VisualizationHook', enable=False),
    # random numbers by position in training: exact resume
    seed=dict(type='mmvpt.SeedHook'),
    # a NaN loss ends the run before it reaches a checkpoint
    finite_loss=dict(type='mmvpt.FiniteLossHook', interval=50),
    # table of tuned and frozen parameters; each tuned one must get a gradient
    tuned_parameters=dict(type='mmvpt.TunedParametersHook'),
    # head and data agree on the number of classes
    num_classes=dict(type='mmvpt.NumClassesHook'),
    # prompts that start from training images are given some
    prompt_init=dict(type='mmvpt.PromptInitHook'),
    # losses that prompts have of their own parameters are added
    prompt_loss=dict(type='mmvpt.PromptLossHook'),
    # images are normalised as the backbone was pretrained, or init_cfg states otherwise
    normalization=dict(type='mmvpt.NormalizationHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)
