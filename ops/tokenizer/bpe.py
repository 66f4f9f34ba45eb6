"""Train a byte-level BPE."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ops.errors import InputError
from ops.tokenizer.config import NUM_BYTES, NUM_SPECIAL_TOKENS, TrainBPE

EOD = "<|endoftext|>"
PAD = "<|pad|>"


def byte_level(model: models.BPE, pattern: str) -> Tokenizer:
    """A tokenizer that cuts text by `pattern` and gives `model` the UTF-8 bytes; nothing is normalized."""
    tokenizer = Tokenizer(model)
    try:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    except Exception as error:  # tokenizers raises bare Exception for a bad expression
        raise InputError(f"pattern: not a regular expression: {error}") from error
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_bpe(config: TrainBPE, texts: Iterable[list[str]]) -> Tokenizer:
    """Train on batches of texts. The result depends neither on the number of threads nor on the order of the texts.

    Memory: the distinct pieces that the pattern cuts, with their counts.

    Raises:
        InputError: when there is no text.
    """
    tokenizer = byte_level(models.BPE(), config.pattern)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[EOD, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((batch for batch in texts), trainer=trainer)
    if tokenizer.get_vocab_size() <= NUM_BYTES + NUM_SPECIAL_TOKENS:
        raise InputError("corpus: holds too little text to train a tokenizer on; no pair of bytes could be merged")
    return tokenizer
