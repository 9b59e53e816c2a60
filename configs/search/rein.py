# Rein (https://arxiv.org/abs/2312.04265): around its one recipe, learning rate, number
# and rank of tokens; 27 trials.
space = {
    'optim_wrapper.optimizer.lr': [3e-05, 0.0001, 0.0003],
    'model.backbone.prompt.num_tokens': [50, 100, 150],
    'model.backbone.prompt.rank': [4, 16, 32],
}
start = {
    'optim_wrapper.optimizer.lr': 0.0001,
    'model.backbone.prompt.num_tokens': 100,
    'model.backbone.prompt.rank': 16,
}
