"""Multi-token prediction against its formula, and that it never sees what it is to predict."""

from dataclasses import replace

import pytest
import torch

from model.hybrid import HybridLM
from tests.model.common import MTP, TINY, shake
from tests.model.test_hybrid import relative_error, tokens

TWO_BLOCKS = replace(MTP, num_nextn_predict_layers=2, mtp_hybrid_override_pattern="*-")


def norm(x, weight, eps=1e-5):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


@pytest.mark.parametrize("config", [MTP, TWO_BLOCKS])
def test_equals_the_formula(config):
    """Two depths: of one block applied twice, or of two blocks."""
    model = shake(HybridLM.create(config, seed=0))
    weights = model.state_dict()
    ids = tokens(2, 20)
    with torch.no_grad():
        hidden = model.hidden_states(ids)
        found = model.mtp_hidden_states(hidden, ids, depths=2)
        for depth, actual in enumerate(found):
            assert model.mtp is not None
            first = 2 * (depth % config.num_nextn_predict_layers)
            prefix = f"mtp.layers.{first}."
            kept = 20 - depth - 1  # positions that know the token which is embedded
            embedded = weights["backbone.embeddings.weight"][ids[:, depth + 1 :]]
            joined = torch.cat(
                [
                    norm(embedded, weights[prefix + "enorm.weight"]),
                    norm(hidden[:, :kept], weights[prefix + "hnorm.weight"]),
                ],
                dim=-1,
            )
            x = joined @ weights[prefix + "eh_proj.weight"].T
            for index in (first, first + 1):
                layer = model.mtp.layers[index]
                x = x + layer.get_submodule("mixer")(norm(x, layer.get_parameter("norm.weight")))
            x = norm(x, weights[f"mtp.layers.{first + 1}.final_layernorm.weight"])
            assert relative_error(actual[:, :kept], x) < 1e-5
            hidden = actual


def test_names_are_those_of_published_checkpoints():
    names = {name for name in HybridLM.create(TWO_BLOCKS, seed=0).state_dict() if name.startswith("mtp.")}
    for block in (0, 2):
        first, last = f"mtp.layers.{block}.", f"mtp.layers.{block + 1}."
        names -= {first + n + ".weight" for n in ("enorm", "hnorm", "eh_proj", "norm")}
        names -= {first + f"mixer.{n}_proj.weight" for n in "qkvo"}
        names -= {last + n + ".weight" for n in ("norm", "mixer.up_proj", "mixer.down_proj", "final_layernorm")}
    assert not names


def test_no_depth_sees_the_token_that_it_predicts():
    model = HybridLM.create(MTP, seed=0)
    ids = tokens(1, 24)
    changed = ids.clone()
    changed[:, 12] = (changed[:, 12] + 1) % MTP.vocab_size
    with torch.no_grad():
        a, b = (model.mtp_hidden_states(model.hidden_states(x), x, depths=3) for x in (ids, changed))
    for depth, (one, other) in enumerate(zip(a, b, strict=True), 1):
        first = 12 - depth  # the first position that embeds token 12, from which it predicts token 13
        assert relative_error(other[:, :first], one[:, :first]) < 1e-5  # experts round by how many rows they get
        assert relative_error(other[:, first], one[:, first]) > 1e-3


def test_packed_documents_equal_separate_ones():
    model = HybridLM.create(MTP, seed=0)
    ids = tokens(1, 40)
    seq_idx = (torch.arange(40) >= 17).long()[None]
    with torch.no_grad():
        packed = model.mtp_hidden_states(
            model.hidden_states(ids, seq_idx_BL=seq_idx), ids, depths=2, seq_idx_BL=seq_idx
        )
        for start, end in ((0, 17), (17, 40)):
            part = ids[:, start:end]
            alone = model.mtp_hidden_states(model.hidden_states(part), part, depths=2)
            for depth in (0, 1):
                kept = end - start - depth - 1
                assert relative_error(packed[depth][:, start : start + kept], alone[depth][:, :kept]) < 1e-5


def test_leaves_the_network_itself_alone():
    plain, with_mtp = (HybridLM.create(c, seed=0) for c in (replace(MTP, num_nextn_predict_layers=0), MTP))
    ids = tokens(1, 20)
    with torch.no_grad():
        assert torch.equal(plain(ids), with_mtp(ids))


def test_networks_without_it_say_so():
    model = HybridLM.create(TINY, seed=0)
    with pytest.raises(ValueError, match="num_nextn_predict_layers is 0"):
        model.mtp_hidden_states(torch.zeros(1, 3, 32), tokens(1, 3))
