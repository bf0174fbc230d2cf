"""Tables, figures and the HTML report, made from the files of a run directory alone; no torch in here."""
