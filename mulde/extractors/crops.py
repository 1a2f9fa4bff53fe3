"""Pictures through an image network in shared batches: the crop of each box, or whole frames. Imports torch."""

from __future__ import annotations

import torch

from mulde.extractors.boxes import crop
from mulde.extractors.networks import NetworkExtractor
from mulde.records import FeatureTable, Regions, Window


class CropEmbedding(NetworkExtractor):
    """An image network applied to the crop of each box: one embedding per box, crops of many frames in one batch."""

    object_centric = True

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        def prepare(rows: range) -> torch.Tensor:
            crops = [crop(window.image(regions.frame_index[i]), regions.box_xyxy[i]) for i in rows]
            return self.network.expects(crops, self.network.device)

        return FeatureTable(self.network(len(regions), prepare), regions.frame_index, regions.box_xyxy)


class FrameEmbedding(NetworkExtractor):
    """An image network applied to whole frames: one embedding per frame.

    The frame is stretched to the square that the network expects. The centre crop that such networks are trained with
    would hide the borders, where people walk in and out of the view of a fixed camera.
    """

    object_centric = False

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        del regions  # whole frames
        images = window.frames.images[window.first : window.last]

        def prepare(rows: range) -> torch.Tensor:
            return self.network.expects(images[rows.start : rows.stop], self.network.device)

        return FeatureTable(self.network(len(images), prepare), window.core_index)
