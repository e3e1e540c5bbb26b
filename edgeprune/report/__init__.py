"""Report: from the files of a run folder to one page that needs no network and no torch."""
