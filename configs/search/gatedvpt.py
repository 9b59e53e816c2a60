# Gated Prompt Tuning (https://arxiv.org/abs/2306.05067): the learning rates of its
# appendix A.2, used as they are, and the prompt lengths and starts of the gates that its
# Table 5 chose most; 112 trials. It has no weight decay.
space = {
    'optim_wrapper.optimizer.lr': [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
    'model.backbone.prompt.num_tokens': [1, 5, 10, 100],
    'model.backbone.prompt.gate_init': [1, 5, 10, 15],
}
start = {
    'optim_wrapper.optimizer.lr': 0.5,
    'model.backbone.prompt.num_tokens': 5,
    'model.backbone.prompt.gate_init': 5,
}
