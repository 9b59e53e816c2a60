# PAE (https://arxiv.org/abs/2601.20232) has no tuning script: learning rates and weight decays
# of VPT's code (sgd.py), used as they are, and weights of its losses about the released;
# start with TPE or the coordinate mode.
_base_ = ['./sgd.py']
_prompt = 'model.backbone.prompt'

space = {
    f'{_prompt}.koopman_weight': [0.05, 0.5, 1.0],
    f'{_prompt}.lyapunov_weight': [0.05, 0.2, 0.5],
}
start = {
    'optim_wrapper.optimizer.lr': 0.25,
    f'{_prompt}.koopman_weight': 0.5,
    f'{_prompt}.lyapunov_weight': 0.2,
}
