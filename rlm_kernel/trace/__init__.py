"""
The record of a run: events, the journal that keeps them, the tree to look at, the notebook and the views.

`events` says what can happen, `codec` how it is written, `journal` and `reading` keep it on disk, `tree` folds it,
`notebook` and `views` show it. Nothing here asks a model, runs a cell or knows Jupyter beyond the notebook's format.
"""
