# Learning rates, for a batch of 256 (the schedule scales them), and weight decays of
# VPT's code (https://arxiv.org/abs/2203.12119): all that VAPT's searches, and what
# baselines do that train by SGD; 40 trials. FGVC leaves out 0.05. Lists run from small
# to large: of equal trials the one with the smaller rate is taken.
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
}
# where the coordinate mode starts and what TPE tries first
start = {
    'optim_wrapper.optimizer.lr': 5.0,
    'optim_wrapper.optimizer.weight_decay': 0.001,
}
