"""Token shards as training reads them: the Megatron format, the order of training, batches, and the way back to a page.

Everything that training itself needs (`TokenData.open`, `batch`, `validation_batches`) runs on NumPy alone; only
tracing a token back to its page reads Parquet.
"""

from ops.data.batch import Batch
from ops.data.token_data import TokenData

__all__ = ["Batch", "TokenData"]
