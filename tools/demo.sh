#!/usr/bin/env bash
# Makes a small company's logs, replays them twice, and shows what came of it.
#   tools/demo.sh            afresh in build/demo
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export PATH

# As a reader would type it who has set up nothing but the checkout.
ledgerock=.venv/bin/ledgerock
folder=build/demo
ledger="sqlite:$folder/ledger.db"
registry="$folder/registry.toml"

heading() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}

# Only what earlier runs of this script made; a name of our own, never a variable, is removed.
rm -rf build/demo
mkdir -p "$folder"

heading "Ten days of made-up logs: people, agents, every operation, copies, twins and poison"
run python -m worker.traffic "$folder" --profile demo --seed 7

heading "Replay them into an embedded ledger"
run "$ledgerock" replay "$folder/logs" --ledger "$ledger" --registry "$registry"

heading "Replay them again: nothing new, nothing charged"
run "$ledgerock" replay "$folder/logs" --ledger "$ledger" --registry "$registry"

heading "Who spent it"
run "$ledgerock" report --ledger "$ledger" --by principal

heading "On which models; unpriced and unmetered calls are shown, not hidden"
run "$ledgerock" report --ledger "$ledger" --by model

heading "The same as a page to look at: open $folder/report.html"
run ledgerock report --ledger "$ledger" --registry "$registry" --format html --output "$folder/report.html"

heading "What could not be understood, and where it stood"
run "$ledgerock" quarantine list --ledger "$ledger"

heading "Do the balances equal the sum of their entries?"
run "$ledgerock" verify --ledger "$ledger"

heading "Try next"
cat <<EOF
(The command is $ledgerock here; \`. .venv/bin/activate\` makes it plain ledgerock, as hints have it.)

  $ledgerock report --ledger $ledger --by team
  $ledgerock report --ledger $ledger --by day --format csv
  $ledgerock explain $folder/logs/deliveries/lambda-queue/*.json
  $ledgerock prices show us.anthropic.claude-sonnet-4-5-20250929-v1:0
  $ledgerock quarantine show --help
  $ledgerock rebook --ledger $ledger --registry $registry --dry-run
  $ledgerock replay /path/to/your/own/logs
EOF
