"""One file per stage of a run; `xrec.pipeline` calls them top to bottom."""
