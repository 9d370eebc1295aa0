"""The vessel board: a few server-rendered pages for a shift lead, in the same application as the service.

`msc_vision.service.board.routes.router` has them, at ``/board``. They need no script, no network and no file from
elsewhere.
"""
