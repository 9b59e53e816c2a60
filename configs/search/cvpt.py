# CVPT (https://arxiv.org/abs/2408.14961): the learning rates that its files use, and
# the prompt lengths that its paper chose from; 35 trials.
space = {
    'optim_wrapper.optimizer.lr': [0.0005, 0.001, 0.002, 0.005, 0.01],
    'model.backbone.prompt.num_tokens': [1, 5, 10, 20, 50, 100, 200],
}
start = {
    'optim_wrapper.optimizer.lr': 0.001,
    'model.backbone.prompt.num_tokens': 10,
}
