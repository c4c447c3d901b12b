"""Moving data: copies between engines, files in JSONL, and the proof that nothing was lost."""

from datastore.transfer.comparing import VerifyReport, verify
from datastore.transfer.copying import copy
from datastore.transfer.loading import IncompleteLoadError
from datastore.transfer.options import LoadOptions
from datastore.transfer.progress import Progress
from datastore.transfer.report import LoadReport, SearchComparison, TableReport
from datastore.transfer.troubles import Trouble
from datastore.transfer.verification import Difference

__all__ = [
    "Difference",
    "IncompleteLoadError",
    "LoadOptions",
    "LoadReport",
    "Progress",
    "SearchComparison",
    "TableReport",
    "Trouble",
    "VerifyReport",
    "copy",
    "verify",
]
