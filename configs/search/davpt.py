# DA-VPT (https://arxiv.org/abs/2505.23694) was tuned by hand: the learning rates and
# loss weights that its released files have most, both weights together; 20 trials.
# Decays stay as in the config, where that of the head is a multiple of the prompts'.
_hook = 'default_hooks.metric_guidance'

space = {
    'optim_wrapper.optimizer.lr': [0.0001, 0.0005, 0.001, 0.005, 0.01],
    'weights': [
        {f'{_hook}.visual_weight': w, f'{_hook}.cls_weight': w}
        for w in (0.01, 0.05, 0.1, 0.5)
    ],
}
start = {
    'optim_wrapper.optimizer.lr': 0.001,
    'weights': {f'{_hook}.visual_weight': 0.01, f'{_hook}.cls_weight': 0.01},
}
