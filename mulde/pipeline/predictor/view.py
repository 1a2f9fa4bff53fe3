"""Whether a video looks where the training footage looked: a file of a camera that was moved is scored all the same."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mulde.errors import MuldeError
from mulde.health import HealthReference, measure, thumbnail
from mulde.health.monitor import text_of
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.extraction.video import StoredVideo

_PICTURES, _MAX_FRAMES, _MOST = 12, 1000, 2 / 3


def view_remark(stored: StoredVideo, reference: HealthReference | None, plan: ExtractionPlan) -> str | None:
    """What to say of a video of which most pictures do not look as the reference does, else None.

    Pictures from its first 1,000 frames are looked at, so that it costs no second pass over a long one.
    """
    if reference is None or not any(regime.has_view for regime in reference.regimes.values()):
        return None
    frames = stored.frame_index[:_MAX_FRAMES]
    wanted = np.unique(frames[np.linspace(0, len(frames) - 1, _PICTURES).astype(np.int64)])
    try:
        looks = [
            measure(thumbnail(image), reference) for _, image in wanted_frames(stored.video, plan, wanted.tolist())
        ]
    except (MuldeError, OSError):  # it was read a moment ago; whatever draws it says so
        return None
    wrong = Counter(look.wrong for look in looks if look.wrong is not None)
    if not looks or sum(wrong.values()) < _MOST * len(looks):
        return None
    kind, _ = wrong.most_common(1)[0]
    typical = sorted((look for look in looks if look.wrong == kind), key=lambda look: look.shift_pixels or 0.0)
    count = f"{sum(wrong.values())} of {len(looks)} pictures"
    return f"{text_of(kind, typical[len(typical) // 2])}, in {count}; its scores may mean little"
