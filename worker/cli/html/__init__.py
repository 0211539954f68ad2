"""`ledgerock report --format html`: one file that needs no network, made from any ledger."""
