# The grid of VPT's code (https://arxiv.org/abs/2203.12119) for prompts: that of sgd.py
# and 6 prompt lengths, 240 trials. Batches shrink with 100 prompts and more, as there.
_base_ = ['./sgd.py']

_prompt = 'model.backbone.prompt.num_tokens'
_batch = 'train_dataloader.batch_size'

space = {
    'prompts': [
        {_prompt: 1, _batch: 128},
        {_prompt: 5, _batch: 128},
        {_prompt: 10, _batch: 128},
        {_prompt: 50, _batch: 128},
        {_prompt: 100, _batch: 64},
        {_prompt: 200, _batch: 64},
    ],
}
start = {'prompts': {_prompt: 10, _batch: 128}}
