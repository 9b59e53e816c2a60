# The learning rates of VPT's code (https://arxiv.org/abs/2203.12119) for full
# fine-tuning, for a batch of 256; its weight decay is fixed. 4 trials.
space = {'optim_wrapper.optimizer.lr': [0.0001, 0.0005, 0.001, 0.005]}
