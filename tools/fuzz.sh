#!/usr/bin/env bash
# fuzz TARGET SECONDS: a short run from the committed corpus (src/<folder>/corpus/<name>/) on.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 seconds=$2
folder=$(basename "$(dirname "$target")")
name=$(basename "$target")
name=${name#"${folder}"_}
work=.cache/corpus/$folder/$name
mkdir -p "$work"
corpus=("$work")
[ -d "src/$folder/corpus/$name" ] && corpus+=("src/$folder/corpus/$name")
exec "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
    -print_final_stats=0 -artifact_prefix=.cache/ "${corpus[@]}"
