# The bounds of fashion1k_grid.py, with all that lies between them.
space = {
    'optim_wrapper.optimizer.lr': dict(low=0.001, high=0.3, log=True),
    'optim_wrapper.optimizer.weight_decay': [0.0, 0.0001, 0.001, 0.01],
    'model.backbone.prompt.num_tokens': [5, 7, 10, 14, 20],
}
