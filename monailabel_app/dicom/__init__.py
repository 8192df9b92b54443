"""DICOM in and out: series become studies, labels and images go back, with or without the patient's identity."""

from __future__ import annotations

import logging

from monailabel_app.dicom.series import forget, import_series, patients, study_name

__all__ = ["forget", "import_series", "patients", "study_name"]

for _name in ("dicomweb_client", "highdicom", "pydicom"):  # at INFO they log UIDs, and urllib3 logs whole queries
    logging.getLogger(_name).setLevel(logging.WARNING)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
