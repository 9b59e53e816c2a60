# SA2VP (https://arxiv.org/abs/2312.10376): the ranks and weights of its README's table;
# 12 trials.
space = {
    'model.backbone.prompt.rank': [8, 16, 32, 64],
    'model.backbone.prompt.scale': [0.1, 0.5, 1.5],
}
start = {'model.backbone.prompt.rank': 16, 'model.backbone.prompt.scale': 0.1}
