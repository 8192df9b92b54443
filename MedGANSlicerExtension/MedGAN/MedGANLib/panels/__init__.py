"""One small panel for each task of the clinician. Panels only draw the workflow's state and pass on what the user does.

A panel has the method `show(state)`, which may be called at any time and any number of times; all panels of a module
have one `Shared` between them.
"""

from __future__ import annotations

from typing import Any, List

from . import preferences
from .clicks import ClicksPanel
from .compare import ComparePanel
from .connection import ConnectionPanel
from .correct import CorrectPanel
from .detect import DetectPanel
from .dicom import DicomPanel
from .disclosure import SECTIONS, Disclosure
from .findings import FindingsPanel
from .gallery import GalleryPanel
from .heat import HeatPanel
from .history import HistoryPanel
from .learner import LearnerBoxes
from .notice import NoticePanel
from .quality import QualityPanel
from .reconstruct import ReconstructPanel
from .review import ReviewPanel
from .run import RunPanel
from .runs import RunsPanel
from .shared import Shared
from .slice_marks import SliceMarks
from .status import StatusPanel
from .study import StudyPanel
from .synthesise import SynthesisePanel
from .training import TrainingPanel
from .versions import VersionsPanel

__all__ = [
    "SECTIONS",
    "ClicksPanel",
    "ComparePanel",
    "CorrectPanel",
    "DetectPanel",
    "FindingsPanel",
    "GalleryPanel",
    "HeatPanel",
    "ReconstructPanel",
    "Shared",
    "SliceMarks",
    "SynthesisePanel",
    "TrainingPanel",
    "make_panels",
    "preferences",
]

PANELS = (
    StatusPanel,
    NoticePanel,
    ConnectionPanel,
    StudyPanel,
    ReviewPanel,
    RunPanel,
    CorrectPanel,
    QualityPanel,
    ClicksPanel,
    HistoryPanel,
    ReconstructPanel,
    ComparePanel,
    DicomPanel,
    DetectPanel,
    HeatPanel,
    FindingsPanel,
    SynthesisePanel,
    GalleryPanel,
    LearnerBoxes,
    TrainingPanel,
    RunsPanel,
    VersionsPanel,
    Disclosure,
    SliceMarks,
)


def make_panels(shared: Shared) -> List[Any]:
    """Returns all panels, connected to the user interface's widgets."""
    return [panel(shared) for panel in PANELS]
