"""The whole pipeline on a laptop: what prepares it, feeds it, watches it and measures it.

`docker/compose.yaml` runs `bootstrap` and `traffic` in containers; `watch` and `load` run on the
host, behind `make watch` and `make load`.
"""
