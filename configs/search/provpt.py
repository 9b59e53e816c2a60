# PRO-VPT (https://arxiv.org/abs/2503.06901): the grid of its tune scripts, which scale lr
# by batch / 256 (run.sh uses it as it is: 2.5); 32 trials.
space = {
    'optim_wrapper.optimizer.lr': [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0],
    'optim_wrapper.optimizer.weight_decay': [0.0, 0.0001, 0.001, 0.01],
    'auto_scale_lr.enable': [True],
}
start = {
    'optim_wrapper.optimizer.lr': 2.5,
    'optim_wrapper.optimizer.weight_decay': 0.0001,
}
