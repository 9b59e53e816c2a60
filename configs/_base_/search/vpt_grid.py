# The grid of VPT's code (https://arxiv.org/abs/2203.12119) for prompts: 10 learning
# rates for a batch of 256 (the schedule scales them), 4 weight decays, 6 prompt lengths,
# 240 trials. Batches shrink with 100 prompts and more, as there. FGVC leaves out 0.05.
# Lists run from small to large: of equal trials the one with the smaller rate is taken.
_prompt = 'model.backbone.prompt.num_tokens'
_batch = 'train_dataloader.batch_size'

space = {
    'optim_wrapper.optimizer.lr': [
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        25.0,
        50.0,
    ],
    'optim_wrapper.optimizer.weight_decay': [0.0, 0.0001, 0.001, 0.01],
    'prompts': [
        {_prompt: 1, _batch: 128},
        {_prompt: 5, _batch: 128},
        {_prompt: 10, _batch: 128},
        {_prompt: 50, _batch: 128},
        {_prompt: 100, _batch: 64},
        {_prompt: 200, _batch: 64},
    ],
}
# where the coordinate mode starts and what TPE tries first
start = {
    'optim_wrapper.optimizer.lr': 5.0,
    'optim_wrapper.optimizer.weight_decay': 0.001,
    'prompts': {_prompt: 10, _batch: 128},
}
