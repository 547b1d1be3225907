"""What storing a merged model in a number format leaves of its update."""

import math
from typing import Literal

from dnatune.contracts import Nats, Record

#: Under this share of the update, or under this cosine between it and what is stored of it, what is stored is not what
#: was trained, and the report says so.
KEPT = 0.99


class Storage(Record):
    """storage.json of a merged model: its number format, and what rounding to it left of the update.

    The update is what training changed in the weights: scale × B·A, or the new matrix less the old one.
    """

    dtype: Literal["fp32", "bf16", "fp16"]
    """Number format of the changed weights."""
    update_kept: float
    """‖stored − base‖ ÷ ‖update‖ over all changed weights: 1 if nothing was lost, less if small changes were rounded
    away."""
    least_kept: float
    """The smallest such share of a single tensor."""
    least_kept_tensor: str
    """Name of that tensor."""
    update_error: float
    """‖stored − (base + update)‖ ÷ ‖update‖ over all changed weights. Rounding also enlarges changes, so that the share
    above may be 1 where little of the update is left."""
    checked_tokens: int
    """Tokens of prompts and labels whose log-probabilities under the merged weights before rounding were compared with
    those under base + adapter."""
    largest_difference: Nats
    """Largest difference found there, of fp32 rounding alone."""

    @property
    def lossy(self) -> bool:
        """Tell whether rounding has taken more of the update than may pass without a word."""
        return self.update_kept < KEPT or self.update_error > math.sqrt(1 - KEPT**2)

    @property
    def warning(self) -> str:
        """Return what a lossy one is said of, in words."""
        return (
            f"storing the merged model in {self.dtype} keeps {self.update_kept:.3f} of the update that was trained "
            f"({self.least_kept:.3f} of that of {self.least_kept_tensor}) with an error of {self.update_error:.3f}: it "
            "is not the trained model, whose scores count; 'merge: {dtype: fp32}' keeps all of it"
        )
