"""The end-to-end suite: what a deployed stage promises, asked of the stage itself.

`make e2e STAGE=dev` runs it. `tests.e2e.running` runs the same where a test has deployed a stage.
"""
