# VIPAMIN (https://arxiv.org/abs/2510.16446), run_indiv.sh of its code: learning rates for a
# batch of 256 (the schedule scales them), and nine starts; 63 trials.
_prompt = 'model.backbone.prompt'

space = {
    'optim_wrapper.optimizer.lr': [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
    'start': [
        *(
            {f'{_prompt}.num_matches': matches, f'{_prompt}.orthogonal': share}
            for matches in (2, 8, 32, 128)
            for share in (0.0, 0.5)
        ),
        {f'{_prompt}.num_matches': 2, f'{_prompt}.orthogonal': 1.0},
    ],
}
start = {
    'optim_wrapper.optimizer.lr': 0.5,
    'start': {f'{_prompt}.num_matches': 8, f'{_prompt}.orthogonal': 0.5},
}
