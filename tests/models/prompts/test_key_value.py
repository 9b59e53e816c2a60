# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""E^2VPT against figures of the authors' code and against its equations."""

import math

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.models.prompts import KeyValuePrompt, prune_counts
from tests.models.exact import assert_same
from tests.models.golden import assert_golden, golden_backbone, load_golden, vpt_tokens
from tests.models.prompted import build as small
from tests.models.prompted import images

GOLDEN = load_golden('e2vpt_golden')
META = GOLDEN['meta']
HOST = dict(embed_dims=24, num_layers=3, patch_grid=(4, 4), patch_size=8, num_heads=3)
MASKS = {
    'token_mask': 'prompt_soft_tokens_mask_cls_token',
    'segment_mask': 'prompt_soft_tokens_pieces_mask_cls_token',
}


def released(layers):
    """Return what gathers a parameter of ours, with extra rows in ``layers``."""

    def rows(values, suffix):
        found = []
        for i in layers:
            for begin in ('blocks', 'encoder.layer'):
                try:
                    found.append(
                        values(f'{begin}.{i}.attn.deep_QKV_embeddings{suffix}')
                    )
                except KeyError:
                    continue
        return torch.stack([x.transpose(0, 1).flatten(1) for x in found])

    def gather(values, name):
        if name == 'tokens':
            return vpt_tokens(values)
        if name in MASKS:
            return values(MASKS[name])
        return rows(values, {'key_values': '', 'keys': '_K', 'values': '_V'}[name])

    return gather


def build(variant, **changes):
    options = META['options'][variant]
    prompt = dict(
        type='KeyValuePrompt',
        num_tokens=5,
        num_key_values=3,
        shared_key_values=options['shared'],
        depth='deep' if options['deep'] else 'shallow',
        key_value_layers=options['key_value_layers'],
        num_segments=8 if options['segment_mask'] else None,
        segments='strided' if options['segment_mask'] else None,
        token_mask=options['token_mask'],
        **changes,
    )
    norm = 'norm'
    if options['kind'] == 'mae':
        norm = None if 'identity' in variant else 'fc_norm'
    vit = golden_backbone(
        GOLDEN,
        norm=norm,
        prompt=prompt,
        pooling=options['pooling'],
        norm_before_pool=options['kind'] != 'mae',
    )

    def value(key):
        if not options['deep'] and key.startswith('deep'):
            raise KeyError(key)
        return GOLDEN[f'prompt/{key}']

    gather = released(options['key_value_layers'])
    for name, parameter in vit.prompt.named_parameters():
        parameter.data = gather(value, name).clone()
    if options['pruned']:
        scores = [GOLDEN[f'rank/{options["kind"]}/{k}_importance'] for k in KINDS]
        vit.prompt.prune(*scores, *options['pruned'].values())
    return vit


KINDS = ('token', 'segment')


@pytest.mark.parametrize('variant', META['variants'])
def test_golden_features_and_gradients(variant):
    layers = META['options'][variant]['key_value_layers']
    assert_golden(GOLDEN, variant, build(variant), released(layers))


@pytest.mark.parametrize(
    'variant', sorted({n.split('/')[0] for n in GOLDEN if '/prompts_block' in n})
)
def test_golden_prompts(variant):
    """Whole tokens: the norm hides a wrong scale in the features."""
    vit = build(variant)
    entering = []
    vit.prompt.register_forward_hook(lambda m, args, out: entering.append(out))
    vit(GOLDEN['images'])
    for i, got in enumerate(entering):
        expected = GOLDEN.get(f'{variant}/prompts_block{i}')
        if expected is not None:
            torch.testing.assert_close(
                got.expand_as(expected), expected, rtol=0, atol=1e-10
            )


@pytest.mark.parametrize('kind', ['sup', 'moco', 'mae'])
def test_golden_masks(kind):
    """Every count of the released lists, from the released scores; sets are nested."""
    vit = build(f'{kind}_deep')
    totals = META['totals']
    assert prune_counts(5, META['min_tokens']) == tuple(totals['tokens'])
    assert prune_counts(8, META['min_segments']) == tuple(totals['segments'])
    scores = [GOLDEN[f'rank/{kind}/{k}_importance'] for k in KINDS]
    for i, tokens in enumerate(totals['tokens']):
        for j, segments in enumerate(totals['segments']):
            vit.prompt.prune(*scores, tokens, segments)
            for k, at in (('token', i), ('segment', j)):
                mask = getattr(vit.prompt, f'{k}_mask')
                assert torch.equal(mask, GOLDEN[f'rank/{kind}/{k}_masks'][at])


def test_extra_rows_are_part_of_one_softmax():
    """A literal attention over S + T in every layer, for every head."""
    vit = small('key-value', final_norm=False).double()
    prompt, batch = vit.prompt, images(dtype=torch.float64)
    x, grid = vit.embed(batch)
    for i, layer in enumerate(vit.layers):
        tokens = prompt(i, x[:, 1:], grid)
        z = torch.cat([x[:, :1], tokens.expand(2, -1, -1), x[:, 1:]], dim=1)
        q, k, v = layer.attn.qkv(layer.ln1(z)).chunk(3, dim=-1)
        heads = []
        for h in range(3):
            own = prompt.key_values[i][:, 8 * h : 8 * h + 8].expand(2, -1, -1)
            q_h, k_h, v_h = (y[..., 8 * h : 8 * h + 8] for y in (q, k, v))
            keys, values = torch.cat([own, k_h], 1), torch.cat([own, v_h], 1)
            weights = (q_h @ keys.mT / math.sqrt(8)).exp()
            heads.append(weights / weights.sum(-1, keepdim=True) @ values)
        z = z + layer.attn.proj(torch.cat(heads, -1))
        z = layer.ffn(layer.ln2(z), identity=z)
        x = torch.cat([z[:, :1], z[:, 1 + tokens.shape[1] :]], dim=1)
    assert_same(vit, vit(batch), [x[:, 0]])


@pytest.mark.parametrize('segments', ['contiguous', 'strided'])
def test_literal_masks(segments):
    prompt = KeyValuePrompt(
        4, 2, num_segments=6, segments=segments, drop_rate=0.5, **HOST
    )
    prompt.token_mask.data.uniform_()
    prompt.segment_mask.data.uniform_()
    torch.manual_seed(0)
    got = prompt(1, torch.zeros(2, 16, 24), (4, 4))
    torch.manual_seed(0)
    literal = prompt.dropout(prompt.tokens[1].expand(2, -1, -1)).clone()
    for m in range(4):
        for c in range(24):
            segment = c // 4 if segments == 'contiguous' else c % 6
            factor = prompt.segment_mask[m, segment] * prompt.token_mask[m]
            literal[:, m, c] = literal[:, m, c] * factor
    torch.testing.assert_close(got, literal, rtol=0, atol=1e-7)


def test_pruned_masks_stay():
    vit = small('key-value').double()
    prompt = vit.prompt
    prompt.prune(torch.tensor([2.0, 1, 1]), torch.rand(3, 4), 1, 2)
    assert prompt.token_mask.tolist() == [1, 0, 1]  # of equal scores the lower index
    assert prompt.segment_mask.sum(1).tolist() == [2, 2, 2]
    before = vit.state_dict()['prompt.segment_mask'].clone()
    assert not any('mask' in name for name, _ in vit.named_parameters())
    optimizer = torch.optim.SGD(prompt.parameters(), lr=1, weight_decay=0.5)
    vit.train()(images(dtype=torch.float64))[0].square().sum().backward()
    assert not prompt.tokens.grad[:, 1].any()
    optimizer.step()
    other = small('key-value', seed=1).double()
    other.load_state_dict(vit.state_dict())
    assert torch.equal(other.prompt.segment_mask, before)
    batch = images(dtype=torch.float64)
    assert torch.equal(other.eval()(batch)[0], vit.eval()(batch)[0])


def test_pruned_from_the_start():
    """What a config says is what prune does, with tokens drawn anew."""
    scores = torch.tensor([1.0, 0, 2]), torch.rand(3, 4)
    prompt = KeyValuePrompt(3, 2, num_segments=4, **HOST)
    prompt.prune(*scores, 1, 3)
    lowest = scores[1].sort(dim=1).indices[:, :3].tolist()
    pruned = dict(tokens=[1], segments=lowest)
    fresh = KeyValuePrompt(3, 2, num_segments=4, pruned=pruned, **HOST)
    for name in MASKS:
        assert torch.equal(getattr(fresh, name), getattr(prompt, name))
        assert name in dict(fresh.named_buffers())


def test_start_and_counts():
    host = dict(embed_dims=768, num_layers=12, patch_grid=(14, 14), patch_size=16)
    prompt = KeyValuePrompt(10, 5, num_heads=12, **host)
    assert sum(p.numel() for p in prompt.parameters()) == 138_410
    bound = prompt.key_values.abs().max().item()
    assert bound <= math.sqrt(6 / (5 * 64)) and bound == pytest.approx(0.1369, abs=1e-4)
    unshared = KeyValuePrompt(10, 5, shared_key_values=False, **host)
    assert sum(p.numel() for p in unshared.parameters()) == 138_410 + 12 * 5 * 768
    assert prune_counts(1, 1) == (0,)
    assert prune_counts(10, 1) == tuple(range(1, 10))
    assert prune_counts(32, 1) == (3, 6, 9, 12, 16, 19, 22, 25, 28)
    assert prune_counts(16, 4) == (1, 3, 4, 6, 8, 9, 11, 12)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_segments=5), 'must divide the 24 channels'),
        (dict(num_segments=None, segments='strided'), 'num_segments is None'),
        (dict(segments='tiled'), "'contiguous', 'strided'; got 'tiled'"),
        (dict(depth='flat'), "'deep', 'shallow'; got 'flat'"),
        (dict(key_value_layers=[]), 'at least one'),
        (dict(key_value_layers=[1, 0]), 'ascending numbers from 0 to 2'),
        (dict(key_value_layers=[3]), 'ascending numbers from 0 to 2'),
        (dict(num_key_values=0), 'num_key_values must be an integer of at least 1'),
        (dict(key_value_init='zeros'), "got 'zeros'"),
        (dict(pruned=dict(tokens=[4])), 'below num_tokens=4'),
        (dict(pruned=dict(segments=[[0]])), 'for each token'),
        (dict(pruned=dict(token=[0])), 'allowed are tokens'),
        (dict(pruned=dict(tokens=[0]), token_mask=False), 'without token_mask'),
    ],
)
def test_bad_arguments(options, message):
    defaults = dict(num_tokens=4, num_key_values=2, num_segments=6)
    with pytest.raises(ValueError, match=message):
        KeyValuePrompt(**{**defaults, **options}, **HOST)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(num_tokens=3), 'can take 0 to 2 tokens, got 3'),
        (dict(num_segments=-1), 'can take 0 to 3 segments of every token'),
        (dict(token_scores=torch.zeros(2)), r'numbers of shape \(3,\)'),
        (dict(segment_scores=torch.full((3, 4), math.nan)), 'finite numbers of shape'),
    ],
)
def test_bad_pruning(changes, message):
    prompt = KeyValuePrompt(3, 2, num_segments=4, **HOST)
    call = dict(
        token_scores=torch.zeros(3),
        segment_scores=torch.zeros(3, 4),
        num_tokens=1,
        num_segments=1,
    )
    with pytest.raises(UserError, match=message):
        prompt.prune(**{**call, **changes})
    bare = KeyValuePrompt(3, 2, num_segments=4, token_mask=False, **HOST)
    with pytest.raises(UserError, match='has no token_mask'):
        bare.prune(**call)
    bare.prune(None, call['segment_scores'], 0, 1)
    with pytest.raises(UserError, match='at most 3 can be kept, got 4'):
        prune_counts(3, 4)
