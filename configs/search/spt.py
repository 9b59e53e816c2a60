# SPT and BPT (https://arxiv.org/abs/2402.02382, https://arxiv.org/abs/2506.22908) tune lr and
# the decay of the head for each task and say no grid: the values that their tables have;
# 30 trials. The decay of the head is a multiple of the prompts', which stays.
_head = 'optim_wrapper.paramwise_cfg.custom_keys'

space = {
    'optim_wrapper.optimizer.lr': [0.001, 0.005, 0.01, 0.02, 0.05, 0.1],
    'head': [
        {_head: {'head.fc.weight': {'decay_mult': times}}}
        for times in (10.0, 20.0, 50.0, 100.0, 300.0)
    ],
}
start = {
    'optim_wrapper.optimizer.lr': 0.05,
    'head': {_head: {'head.fc.weight': {'decay_mult': 50.0}}},
}
