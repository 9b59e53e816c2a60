# A grid for VPT-deep on Fashion-MNIST 1k in the manner of VPT's: learning rate, weight
# decay, prompt length; 6 x 2 x 2 = 24 trials. fashion1k_range.py has the same bounds.
space = {
    'optim_wrapper.optimizer.lr': [0.001, 0.003, 0.01, 0.03, 0.1, 0.3],
    'optim_wrapper.optimizer.weight_decay': [0.0, 0.01],
    'model.backbone.prompt.num_tokens': [5, 20],
}
