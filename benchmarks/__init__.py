"""What measures, checks and draws for the documents, in rooms; run from the root: `python -m benchmarks.speed`.

================  ====================================================================================================
``results``       studies that the package lacks; what of docs/results/ is due, its record, and the documents' tables
``speed``         how long a training step takes beside others, on several processes, with many pictures
``checks``        that moved code computes the same bits, where rounding sets in, everything that a GPU is to show
``pictures``      every picture of the post, and a page of them; the documents as a site
================  ====================================================================================================
"""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
