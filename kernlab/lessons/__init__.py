"""Labs and races as data: their models, checks of their files, verdicts, rounds and pages.
Nothing here boots, builds or debugs."""
